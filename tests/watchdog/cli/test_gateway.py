"""What `regrain gateway` refuses before it starts anything, and how it says so."""

from __future__ import annotations

import fcntl
import sqlite3

import pytest

from regrain_watchdog.front.listen import bind


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "99999"], "99999 is not in the range 0<=x<=65535"),
        (["--grpc-port", "on"], "was 'on', allowed are 0 (any free port) to 65535, or off"),
        (["--host", "example.org"], "--host: localhost or an IP address, was 'example.org'"),
        (["--host", "0.0.0.0", "--no-auth"], "--no-auth is for loopback alone"),
        (["--payload-secret", "nope"], "--payload-secret: there is no file"),
        (["--state", "/dev/null/state"], "--state: /dev/null/state cannot be made: File exists"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(regrain, tmp_path, flags, said):
    outcome = regrain("gateway", "--state", str(tmp_path / "state"), *flags)

    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("regrain: ")
    assert outcome.err.count("\n") == 1
    assert said in outcome.err


def test_settings_may_come_from_the_environment(regrain, tmp_path, monkeypatch):
    monkeypatch.setenv("REGRAIN_GATEWAY_STATE", str(tmp_path))
    monkeypatch.setenv("REGRAIN_GATEWAY_HOST", "0.0.0.0")
    monkeypatch.setenv("REGRAIN_GATEWAY_NO_AUTH", "1")

    outcome = regrain("gateway")

    assert "--no-auth is for loopback alone: whoever reaches 0.0.0.0" in outcome.err


def test_a_port_that_is_taken_is_named(regrain, tmp_path):
    with bind("127.0.0.1", 0, name="port", backlog=1) as taken:
        port = taken.getsockname()[1]

        outcome = regrain("gateway", "--state", str(tmp_path), "--port", str(port))

    assert outcome.code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in outcome.err


def test_a_state_that_another_gateway_has_is_named(regrain, tmp_path):
    with (tmp_path / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        outcome = regrain("gateway", "--state", str(tmp_path))

    assert outcome.code == 2
    assert f"another gateway keeps its state in {tmp_path}" in outcome.err


def test_a_sqlite_that_is_too_old_for_the_store_is_told_before_anything_is_made(
    regrain, tmp_path, monkeypatch
):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")

    outcome = regrain("gateway", "--state", str(tmp_path / "state"), "--host", "example.org")

    assert outcome.code
    assert outcome.err == "regrain: gateway needs SQLite 3.37 or later, and this Python has 3.34.1\n"
    assert not (tmp_path / "state").exists()
