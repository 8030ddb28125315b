"""Settings are checked where they are made, and travel to the gateway's processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from regrain.errors import SpecError
from regrain_watchdog.gateway.settings import Settings, default_state


def test_settings_travel_as_one_argument() -> None:
    settings = Settings(state="/var/lib/regrain", host="::1", port=0, grpc_port=9000, auth=False)

    assert Settings.decode(settings.encode()) == settings


def test_every_file_is_in_the_state_folder() -> None:
    settings = Settings(state="/s")
    files = [
        settings.database,
        settings.front_socket,
        settings.control_socket,
        settings.secrets,
        settings.key,
    ]

    assert {path.parent for path in files} == {Path("/s")}
    assert len(set(files)) == len(files)
    assert settings.log("red", "hello") == Path("/s/logs/red/hello.log")
    assert Settings(state="/s", payload_secret="/k").key == Path("/k")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": "0.0.0.0", "auth": False}, "--no-auth is for loopback alone"),
        ({"host": "example.org"}, "--host: localhost or an IP address, was 'example.org'"),
        ({"state": "/" + "s" * 100}, "--state: .* is too long a path"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Settings(**{"state": "/s", **fields})


def test_state_is_kept_where_state_belongs() -> None:
    assert default_state({"XDG_STATE_HOME": "/x"}) == "/x/regrain/gateway"
    assert default_state({}) == str(Path.home() / ".local/state/regrain/gateway")
