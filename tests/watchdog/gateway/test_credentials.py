"""Who may use /system: made once, kept to their owner, compared as a whole."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.gateway.credentials import PASSWORD, USER, Credentials


def basic(pair: str, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(pair.encode()).decode()}"


def test_they_are_made_once_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    first = Credentials.load(tmp_path)

    assert Credentials.load(tmp_path) == first
    assert first.user == "admin"
    assert len(first.password) >= 32
    assert (tmp_path / PASSWORD).read_text() == first.password
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (USER, PASSWORD)} == {0o600}
    assert first.password not in repr(first)


def test_each_gateway_has_a_password_of_its_own(tmp_path: Path) -> None:
    assert Credentials.load(tmp_path / "a").password != Credentials.load(tmp_path / "b").password


def test_own_ones_are_read_without_the_end_of_their_line(tmp_path: Path) -> None:
    (tmp_path / USER).write_text("me\n")
    (tmp_path / PASSWORD).write_text("pass:word\n")

    assert Credentials.load(tmp_path).admit(basic("me:pass:word"))


@pytest.mark.parametrize(
    ("file", "content"),
    [(USER, b"a:b"), (USER, b""), (PASSWORD, b" \n"), (PASSWORD, b"a\nb"), (PASSWORD, b"\xff")],
)
def test_what_is_no_line_of_text_is_refused(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)

    with pytest.raises(SpecError, match=f"{file} must hold one line of text"):
        Credentials.load(tmp_path)


def test_the_scheme_may_be_written_in_any_case() -> None:
    assert Credentials("admin", "secret").admit(basic("admin:secret", "bAsIc"))


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Basic",
        "Basic ",
        "Bearer ",
        basic("admin:secret", "Bearer"),
        basic("admin:secret") + "x",
        basic("admin:secre"),
        basic("admin:secrets"),
        basic("admi:nsecret"),
        basic("Admin:secret"),
        basic(":"),
        "Basic ***",
        "Basic YWRtaW46c2Vjcm",
        "Basic ü",
    ],
)
def test_nothing_else_is_admitted(shown: str) -> None:
    assert not Credentials("admin", "secret").admit(shown)


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_only_the_pair_itself_is_admitted(user: str, password: str) -> None:
    assert Credentials("admin", "secret").admit(basic(f"{user}:{password}")) == (
        (user, password) == ("admin", "secret")
    )
