"""What processes of a function write becomes lines of its log."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from regrain_watchdog.gateway.journal import Choice, Journal, Line, lines
from regrain_watchdog.gateway.plane.output import Log, Output


def written(path: Path) -> list[tuple[str, str]]:
    read = b"".join(lines(path, Choice())).splitlines()
    return [(one.instance, one.text) for one in (msgspec.json.decode(line, type=Line) for line in read)]


def test_lines_are_kept_whole_and_the_last_one_without_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"

    async def scenario() -> None:
        log = Log(("dev", "a"), Journal(path))
        output = Output(log, "a-1")
        os.write(output.descriptor, b"first\nsec")
        await asyncio.sleep(0)
        os.write(output.descriptor, b"ond\r\n\xff\nlast")
        output.say("from the gateway")
        output.close()
        log.close()

    asyncio.run(scenario())

    assert sorted(written(path)) == sorted(
        [("a-1", "first"), ("a-1", "second"), ("a-1", "\ufffd"), ("a-1", "last"), ("a-1", "from the gateway")]
    )


def test_all_that_was_written_is_kept_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"

    async def scenario() -> None:
        log = Log(("dev", "a"), Journal(path))
        output = Output(log, "a-1")
        fcntl.fcntl(output.descriptor, fcntl.F_SETPIPE_SZ, 1 << 18)
        os.write(output.descriptor, b"x" * 49 + b"\n" + (b"y" * 49 + b"\n") * 4000)
        output.close()
        log.close()

    asyncio.run(scenario())

    assert len(written(path)) == 4001


def test_who_writes_without_end_does_not_hold_up_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    flood = "import os, signal\nsignal.alarm(30)\nwhile True: os.write(1, b'\\n' * 65536)"

    async def scenario() -> None:
        log = Log(("dev", "a"), Journal(path))
        output = Output(log, "a-1")
        with subprocess.Popen(
            [sys.executable, "-c", flood], stdout=output.descriptor, stderr=subprocess.DEVNULL
        ) as writer:
            while not path.exists():
                await asyncio.sleep(0)
            output.close()
            ended = writer.wait(60)
        log.close()
        assert ended != -signal.SIGALRM  # it ended as nobody reads any more

    asyncio.run(scenario())


def test_many_lines_are_taken_in_many_turns_of_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "a.log"

    async def scenario() -> int:
        log = Log(("dev", "a"), Journal(path))
        output = Output(log, "a-1")
        os.write(output.descriptor, b"\n" * (1 << 16))
        while not path.exists():
            await asyncio.sleep(0)
        at_first = len(written(path))
        output.close()
        log.close()
        return at_first

    assert 0 < asyncio.run(scenario()) <= 1 << 13
    assert len(written(path)) == 1 << 16


def test_what_still_comes_after_a_function_was_removed_goes_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "a.log"

    async def scenario() -> None:
        log = Log(("dev", "a"), Journal(path))
        output = Output(log, "a-1")
        output.say("before")
        log.remove()
        os.write(output.descriptor, b"after\n")
        output.close()

    asyncio.run(scenario())

    assert not path.exists()


def test_no_process_is_given_the_number_of_an_end_that_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        output = Output(Log(("dev", "a"), Journal(tmp_path / "a.log")), "a-1")
        output.close()

        with pytest.raises(ValueError, match="nothing is written here any more"):
            _ = output.descriptor
        output.close()

    asyncio.run(scenario())
