"""Images: known by what is in them, and kept as long as somebody may need them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regrain_watchdog.gateway.build import images
from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.build.images import Images
from regrain_watchdog.gateway.spec import Image


def place(kept: Images, tmp_path: Path, digest: str, built: float, name: str = "hello") -> Image:
    draft = tmp_path / "draft"
    (draft / images.HANDLER).mkdir(parents=True)
    return kept.place(draft, Image(name=name, kind="app", digest=digest, built=built))


@pytest.fixture
def kept(tmp_path: Path) -> Images:
    return Images(tmp_path / "images")


def test_a_digest_is_of_names_contents_and_modes(tmp_path: Path) -> None:
    found = set()
    (tmp_path / "a").write_text("1")
    found.add(images.digest(tmp_path))
    (tmp_path / "a").write_text("2")
    found.add(images.digest(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    found.add(images.digest(tmp_path))
    (tmp_path / "b").chmod(0o755)
    found.add(images.digest(tmp_path))

    assert len(found) == 4
    assert images.digest(tmp_path) == images.digest(tmp_path)


def test_an_image_is_placed_once(kept: Images, tmp_path: Path) -> None:
    first = place(kept, tmp_path, "1", 1.0)
    (Path(first.folder) / "mark").touch()

    again = place(kept, tmp_path, "1", 2.0)

    assert again.folder == first.folder == str(tmp_path / "images/1/function")
    assert (Path(again.folder) / "mark").exists()


def test_an_image_that_cannot_be_kept_is_said(kept: Images, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1").write_text("in the way")

    with pytest.raises(BuildError, match="could not be kept"):
        place(kept, tmp_path, "1", 1.0)


def test_the_last_two_of_a_name_and_what_is_used_stay(kept: Images, tmp_path: Path) -> None:
    made = [place(kept, tmp_path, str(number), float(number)) for number in range(5)]
    other = place(kept, tmp_path, "9", 0.0, name="other")

    kept.prune({made[1].digest})

    assert {image.digest for image in kept.all()} == {"1", "3", "4", "9"}
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"1", "3", "4", "9"}
    assert Path(other.folder).is_dir()


def test_an_image_that_a_process_runs_stays_as_long(kept: Images, tmp_path: Path) -> None:
    made = [place(kept, tmp_path, str(number), float(number)) for number in range(3)]
    users = [images.use(made[0].folder) for _ in range(2)]

    for user in users:
        kept.prune(set())
        assert Path(made[0].folder).is_dir()
        os.close(user)
    kept.prune(set())

    assert not Path(made[0].folder).parent.exists()


@pytest.mark.parametrize("record", [b"", b"\0" * 100, b'{"name": "hel', b"{}", b'{"name": "\xff"}', None])
def test_an_image_whose_record_is_broken_is_passed_over_and_removed(
    kept: Images, tmp_path: Path, record: bytes | None
) -> None:
    broken, wanted, whole = (place(kept, tmp_path, digest, 1.0, name=digest) for digest in "123")
    for image in (broken, wanted):
        spoil(image, record)

    assert list(kept.all()) == [whole]
    kept.prune({wanted.digest})

    assert {path.name for path in (tmp_path / "images").iterdir()} == {"2", "3"}


def test_an_image_whose_record_is_broken_is_replaced(kept: Images, tmp_path: Path) -> None:
    first = place(kept, tmp_path, "1", 1.0)
    (Path(first.folder) / "mark").touch()
    spoil(first, b"")

    again = place(kept, tmp_path, "1", 2.0)

    assert list(kept.all()) == [again]
    assert not (Path(again.folder) / "mark").exists()


def test_an_image_is_on_disk_before_anybody_finds_it_and_found_before_anybody_is_told(
    kept: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[Path, bool]] = []
    there = tmp_path / "images" / "1"
    for name in ("flush_files", "flush_names"):
        monkeypatch.setattr(images, name, lambda folder: flushed.append((folder, there.exists())))

    place(kept, tmp_path, "1", 1.0)

    assert flushed == [(tmp_path / "draft", False), (tmp_path / "images", True)]


def spoil(image: Image, record: bytes | None) -> None:
    """Leave of an image's record what a loss of power may."""
    path = Path(image.folder).parent / images.RECORD
    if record is None:
        path.unlink()
    else:
        path.write_bytes(record)
