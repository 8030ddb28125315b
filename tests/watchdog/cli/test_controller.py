from __future__ import annotations

import asyncio
import socket

import pytest
from click.testing import CliRunner

from regrain.errors import SpecError
from regrain_watchdog.cli.controller import Wishes, command, named
from regrain_watchdog.control.assigner import Wish


@pytest.fixture
def key(tmp_path):
    file = tmp_path / "secret"
    file.write_text("a-secret-of-the-pods")
    file.chmod(0o600)
    return str(file)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--pods"),
        (["--pods", "http://a:1", "--pods-of", "http://b:1"], "--pods"),
        (["--pods", "ftp://a"], "http://HOST:PORT"),
        (["--pods", "http://a:1", "--adapt", "--profile", "/no/profile"], "/no/profile"),
        (["--pods", "http://a:1", "--adapt", "--adapt-period", "soon"], "'soon'"),
        (["--pods", "http://a:1", "--patience", "nan"], "--patience must be seconds or a duration"),
        (["--pods", "http://a:1", "--patience", "0"], "--patience must be more than 0 seconds"),
        (
            ["--pods", "http://a:1", "--adapt", "--decision-log", "/no/log"],
            "--decision-log: /no/log cannot be",
        ),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, said, key):
    told = CliRunner().invoke(command, [*flags, "--remote-key-file", key])
    assert isinstance(told.exception, SpecError)
    assert said in str(told.exception)


def test_a_file_is_followed_as_it_changes_and_kept_where_it_makes_no_sense(tmp_path):
    file = tmp_path / "plan.toml"
    wishes = Wishes(file, Wish("coarse"))
    assert wishes() == Wish("coarse")

    file.write_text('grain = "a | b"\nreplicas = "a=2"\n')
    assert wishes() == Wish("a | b", "a=2")

    for nonsense in ("grain = [", 'graim = "a"', "grain = 3"):
        file.write_text(nonsense)
        assert wishes() == Wish("a | b", "a=2")


def test_a_file_holds_the_plan_for_as_long_as_it_is_there(tmp_path):
    file = tmp_path / "plan.toml"
    wishes = Wishes(file, Wish("coarse"), frees=True)
    assert wishes() == Wish("coarse")

    file.write_text('grain = "a | b"\n')
    assert wishes() == Wish("a | b", holds=True)
    file.write_text("grain = [")
    assert wishes() == Wish("a | b", holds=True)

    file.unlink()
    assert wishes() == Wish("coarse")


def test_a_name_gives_the_addresses_that_it_has():
    assert asyncio.run(named("http://localhost:8080")()) == ["http://127.0.0.1:8080"]


def test_a_name_that_nobody_knows_gives_what_it_gave_last():
    assert asyncio.run(named("http://nobody.invalid:8080")()) == []


@pytest.fixture
def resolved(monkeypatch):
    """Find a name several times, at these addresses; where there are none it is not found for that reason."""

    def resolve(*answers):
        coming = iter(answers)

        def getaddrinfo(host, port, *_):
            answer = next(coming)
            if isinstance(answer, str):
                raise socket.gaierror(socket.EAI_NONAME, answer)
            return [
                (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
                for one in answer
            ]

        async def find():
            found = named("http://ocr-pods:8080")
            return [await found() for _ in answers]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asyncio.run(find())

    return resolve


def test_a_name_that_is_not_found_is_said_once_until_that_changes(resolved, caplog):
    there = ["http://10.0.0.6:8080"]
    assert resolved("unknown", "unknown", "try again", ["10.0.0.6"], "try again", "try again") == [
        *([] for _ in range(3)),
        *(there for _ in range(3)),
    ]
    assert [message.rpartition(" ")[2] for message in caplog.messages] == ["unknown", "again", "again"]


def test_addresses_of_ipv6_alone_are_pods(resolved):
    assert resolved(["fd00::7", "fd00::6"]) == [["http://[fd00::6]:8080", "http://[fd00::7]:8080"]]


def test_a_pod_with_addresses_of_both_families_is_one_pod(resolved):
    assert resolved(["fd00::6", "10.0.0.6"]) == [["http://10.0.0.6:8080"]]


def test_an_address_of_ipv6_is_one():
    assert asyncio.run(named("http://[::1]:8080")()) == ["http://[::1]:8080"]
