"""What a client sends is unpacked below one folder, or refused with the reason."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from regrain_watchdog.gateway.build import archive
from regrain_watchdog.gateway.build.archive import Bounds
from regrain_watchdog.gateway.build.errors import BuildError


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def archived(*entries: tarfile.TarInfo) -> bytes:
    sent = io.BytesIO()
    with tarfile.open(fileobj=sent, mode="w") as tar:
        for made in entries:
            tar.addfile(made, io.BytesIO(bytes(made.size)))
    return sent.getvalue()


def unpack(sent: bytes, tmp_path: Path, bounds: Bounds | None = None) -> Path:
    folder = tmp_path / "below" / "into"
    folder.mkdir(parents=True)
    path = tmp_path / "sent.tar"
    path.write_bytes(sent)
    archive.unpack(path, folder, bounds or Bounds(), lambda _: None)
    return folder


def test_a_context_is_unpacked_with_its_config(tmp_path: Path, tarred: Callable[..., bytes]) -> None:
    sent = tarred({"function/app.py": "app", "Dockerfile": ""}, image="a:1", buildArgs={"A": "b"})
    path = tmp_path / "sent.tar"
    path.write_bytes(sent)

    config = archive.unpack(path, tmp_path, Bounds(), lambda _: None)

    assert (config.image, config.build_args) == ("a:1", {"A": "b"})
    assert (tmp_path / "context/function/app.py").read_text() == "app"


def test_of_modes_only_that_of_execution_is_kept(tmp_path: Path, tarred: Callable[..., bytes]) -> None:
    entries = b"".join(
        entry(f"context/{name}", mode=mode).tobuf() for name, mode in (("a", 0o4777), ("b", 0))
    )

    folder = unpack(entries + tarred({}), tmp_path)

    assert oct((folder / "context/a").stat().st_mode)[-4:] == "0755"
    assert oct((folder / "context/b").stat().st_mode)[-4:] == "0644"


def test_bytecode_is_left_out(tmp_path: Path, tarred: Callable[..., bytes]) -> None:
    folder = unpack(tarred({"function/app.py": "", "function/__pycache__/app.pyc": "x"}), tmp_path)

    assert [path.name for path in (folder / "context/function").iterdir()] == ["app.py"]


@pytest.mark.parametrize("name", ["../out", "/etc/out", "context/../../out", "..", "x" * 2000])
def test_nothing_is_written_elsewhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no path below the context"):
        unpack(archived(entry(name)), tmp_path)

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["below", "into", "sent.tar"]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(tarfile.SYMTYPE, id="symbolic link"),
        pytest.param(tarfile.LNKTYPE, id="hard link"),
        pytest.param(tarfile.CHRTYPE, id="device"),
        pytest.param(tarfile.FIFOTYPE, id="pipe"),
        pytest.param(tarfile.GNUTYPE_SPARSE, id="sparse"),
        pytest.param(tarfile.CONTTYPE, id="contiguous"),
    ],
)
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"'context/a' is neither a folder nor a plain file|no tar archive"):
        unpack(archived(entry("context/a", kind, linkname="/etc/passwd")), tmp_path)


def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="'context/a' is in the archive twice"):
        unpack(archived(entry("context/a"), entry("context/a")), tmp_path)


def test_many_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="more than 3 files"):
        unpack(archived(*(entry(str(number)) for number in range(4))), tmp_path, Bounds(entries=3))


def test_much_content_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="more than 1 KiB"):
        unpack(archived(entry("a", size=1000), entry("b", size=1000)), tmp_path, Bounds(unpacked=1024))

    assert not (tmp_path / "below/into/b").exists()


def test_room_is_asked_for_before_each_piece_is_written(tmp_path: Path) -> None:
    path, large = tmp_path / "sent.tar", archive.PIECE + 1
    path.write_bytes(archived(entry("a", size=10), entry("b", size=large)))
    asked: list[tuple[int, int]] = []

    def require(nbytes: int) -> None:
        asked.append((nbytes, sum(path.stat().st_size for path in (tmp_path / "into").iterdir())))
        if nbytes == 1:
            raise BuildError("the disk is short")

    (tmp_path / "into").mkdir()
    with pytest.raises(BuildError, match="the disk is short"):
        archive.unpack(path, tmp_path / "into", Bounds(), require)

    assert asked == [(10, 0), (archive.PIECE, 10), (1, archive.PIECE + 10)]
    assert (tmp_path / "into" / "b").stat().st_size == archive.PIECE


def test_a_size_that_is_a_lie_is_refused(tmp_path: Path) -> None:
    made = entry("a", size=1 << 40).tobuf(tarfile.GNU_FORMAT)

    with pytest.raises(BuildError, match="more than 512 MiB"):
        unpack(made, tmp_path)


def test_a_negative_size_ends(tmp_path: Path) -> None:
    made = entry("a", size=-1024).tobuf(tarfile.GNU_FORMAT)

    with pytest.raises((BuildError, OSError)):
        unpack(made * 4, tmp_path, Bounds(entries=100))


def test_unpacking_has_a_time(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="took more than 0 s"):
        unpack(archived(entry("a")), tmp_path, Bounds(seconds=0.0))


@pytest.mark.parametrize("sent", [b"", b"no tar", os.urandom(4096), b"\x1f\x8b" + bytes(1000)])
def test_what_is_no_tar_is_refused(sent: bytes, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"no tar archive|holds no com\.openfaas"):
        unpack(sent, tmp_path)


def test_an_archive_that_was_cut_off_is_refused(tmp_path: Path, tarred: Callable[..., bytes]) -> None:
    with pytest.raises(BuildError):
        unpack(tarred({"a": "x" * 2000})[:1500], tmp_path)


@pytest.mark.parametrize("config", [b"", b"{}", b"[]", b'{"image": 1}', b"\xff"])
def test_a_config_that_names_no_image_is_refused(config: bytes, tmp_path: Path) -> None:
    made = entry(archive.CONFIG, size=len(config))
    sent = io.BytesIO()
    with tarfile.open(fileobj=sent, mode="w") as tar:
        tar.addfile(made, io.BytesIO(config))

    with pytest.raises(BuildError, match=r"com\.openfaas\.docker\.config"):
        unpack(sent.getvalue(), tmp_path)
