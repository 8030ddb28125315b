"""A controller's process that does not do what it should: it is replaced, counted, and said once."""

import asyncio
import contextlib
import logging
import os
import stat
import sys

import pytest

from regrain.manifest import SLOSpec
from regrain.plan import Group, Plan
from regrain_watchdog.front.adapting import mind
from regrain_watchdog.front.adapting.mind import Mind
from regrain_watchdog.front.adapting.words import HEADER, Brief, Report, Word, encode

BRIEF = Brief(
    manifest=b"",
    slo=SLOSpec(latency=1.0, attainment=0.95),
    profile=b"",
    devices=(),
    cores=1,
    memory=1,
    predictor="analytic",
    period=15.0,
    log="",
    now=0.0,
)
REPORT = Report(
    now=1.0,
    at=b"",
    size=b"",
    first=0,
    widened=b"",
    hits=0,
    misses=0,
    plan=Plan((Group(stages=("a",)),)),
    living=(),
    is_changing=False,
    is_held=False,
)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Keep a controller that says some bytes and then does nothing, until something is so of whoever keeps it."""
    monkeypatch.setattr(mind, "TICK", 0.01)
    monkeypatch.setattr(mind, "BACKOFF", 0.01)
    monkeypatch.setattr(mind, "LONGEST", 0.02)

    def keep(says: bytes, until, *, is_program: bool = True) -> Mind:
        program = tmp_path / "python"
        program.write_text(
            f"#!{sys.executable}\nimport os, sys, time\n"
            f"os.write(int(sys.argv[-1]), bytes.fromhex({says.hex()!r}))\ntime.sleep(3600)\n"
        )
        program.chmod(program.stat().st_mode | (stat.S_IXUSR if is_program else 0))
        with monkeypatch.context() as patched:
            patched.setattr(mind.sys, "executable", str(program))
            return asyncio.run(_watched(until))

    async def _watched(until) -> Mind:
        one = Mind(brief=lambda: BRIEF, report=lambda: REPORT, heard=lambda _: None)
        one._backoff = mind.BACKOFF
        one.start()
        try:
            async with asyncio.timeout(100):
                while not until(one):
                    await asyncio.sleep(0.01)
        finally:
            await one.stop()
        return one

    return keep


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_why_one_ends_is_said_once_however_often_that_happens(kept, caplog):
    one = kept(encode(Word(end="ValueError: of all things")), lambda one: one.counts.ends >= 3)

    (said,) = warnings(caplog)
    assert said.endswith("the plan stays meanwhile: ValueError: of all things")
    assert one.trouble == "ValueError: of all things"


def test_what_is_no_message_ends_it(kept, caplog):
    one = kept(HEADER.pack(8) + b"\xff" * 8, lambda one: one.counts.ends >= 2)

    (said,) = warnings(caplog)
    assert "what it said is no message" in said
    assert one.trouble


def test_one_that_cannot_be_started_is_tried_again_and_that_is_counted(kept, caplog):
    one = kept(b"", lambda one: one.counts.ends >= 3, is_program=False)

    (said,) = warnings(caplog)
    assert "it cannot be started: " in said
    assert one.trouble


def test_one_that_says_nothing_any_more_is_replaced_and_that_is_counted(kept, monkeypatch):
    monkeypatch.setattr(mind, "PATIENCE", 0.05)
    pids = set()

    def until(one: Mind) -> bool:
        pids.add(one.pid)
        return one.counts.ends >= 2

    one = kept(encode(Word()), until)

    assert "it has said nothing for" in one.trouble
    assert len(pids - {0}) >= 2
    for pid in pids - {0}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            pytest.fail("it lives on")
