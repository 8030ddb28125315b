from __future__ import annotations

import asyncio

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
    assert "http://127.0.0.1:8080" in asyncio.run(named("http://localhost:8080")())


def test_a_name_that_nobody_knows_gives_what_it_gave_last():
    assert asyncio.run(named("http://nobody.invalid:8080")()) == []
