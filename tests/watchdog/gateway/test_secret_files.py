"""Secrets' files are what the store says, and their owner's alone."""

from __future__ import annotations

import stat
from pathlib import Path

from regrain_watchdog.gateway.secret_files import SecretFiles
from regrain_watchdog.gateway.spec import Secret


def secret(name: str, content: bytes, namespace: str = "openfaas-fn") -> Secret:
    return Secret(name=name, namespace=namespace, raw_value=content)


def found(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_secret_is_a_file_of_its_owner(tmp_path: Path) -> None:
    files = SecretFiles(tmp_path / "secrets")

    files.write(secret("key", b"\x00\xff\n"))

    path = tmp_path / "secrets" / "openfaas-fn" / "key"
    assert path.read_bytes() == b"\x00\xff\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in path.parents[:2]} == {0o700}


def test_who_has_opened_a_secret_reads_it_as_it_was(tmp_path: Path) -> None:
    files = SecretFiles(tmp_path)
    files.write(secret("key", b"old"))

    with (tmp_path / "openfaas-fn" / "key").open("rb") as opened:
        files.write(secret("key", b"new"))

        assert opened.read() == b"old"
    assert found(tmp_path) == {"openfaas-fn/key": b"new"}


def test_files_follow_the_secrets_whatever_was_left_undone(tmp_path: Path) -> None:
    files = SecretFiles(tmp_path)
    for name in ("changed", "gone", "same"):
        files.write(secret(name, b"old"))
    (tmp_path / "openfaas-fn" / ".draft").write_bytes(b"half")
    before = (tmp_path / "openfaas-fn" / "same").stat().st_ino

    files.follow([secret("changed", b"new"), secret("same", b"old"), secret("same", b"other", "red")])

    assert found(tmp_path) == {
        "openfaas-fn/changed": b"new",
        "openfaas-fn/same": b"old",
        "red/same": b"other",
    }
    assert (tmp_path / "openfaas-fn" / "same").stat().st_ino == before


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    files = SecretFiles(tmp_path)
    files.write(secret("key", b"a"))

    files.remove("key", "openfaas-fn")
    files.remove("key", "openfaas-fn")

    assert found(tmp_path) == {}


def test_a_draft_that_is_not_put_in_place_leaves_the_secret_as_it_was(tmp_path: Path) -> None:
    files = SecretFiles(tmp_path)
    files.write(secret("key", b"old"))

    with files.drafted(secret("key", b"new")):
        pass
    before = found(tmp_path)
    with files.drafted(secret("key", b"new")) as place:
        place()

    assert before == {"openfaas-fn/key": b"old"}
    assert found(tmp_path) == {"openfaas-fn/key": b"new"}
