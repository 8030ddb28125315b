"""Processes waited for on a loop: how they end, what they write, and that no fork handler runs where they start."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from regrain_watchdog.spawned import PIPE, spawn

pytestmark = pytest.mark.process
WAIT = 60.0
HANDLED = """
import os
import sys

import uvloop

from regrain_watchdog.spawned import spawn


async def main():
    os.register_at_fork(before=lambda: print("forked", flush=True))
    process = await spawn("true")
    print("ended with", await process.wait())


uvloop.run(main())
"""


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop of each kind, and give up in time."""
    runner = asyncio.run if request.param == "asyncio" else uvloop.run
    return lambda work: runner(asyncio.wait_for(work, WAIT))


def python(text: str) -> tuple[str, ...]:
    return sys.executable, "-c", text


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_nothing_runs_that_libraries_registered_for_a_fork():
    done = subprocess.run(python(HANDLED), capture_output=True, text=True, timeout=WAIT, check=True)

    assert done.stdout == "ended with 0\n"


def test_what_it_reads_writes_and_ends_with(run):
    async def work() -> tuple[object, ...]:
        text = "import sys; print(sys.stdin.read().upper()); print('why', file=sys.stderr); sys.exit(3)"
        process = await spawn(*python(text), stdin=PIPE, stdout=PIPE, stderr=PIPE)
        before = process.returncode
        process.stdin.write(b"hello")
        process.stdin.close()
        said = await process.communicate()
        await process.end()
        return before, *said, process.returncode, await process.wait()

    assert run(work()) == (None, b"HELLO\n", b"why\n", 3, 3)


def test_without_pipes_it_reads_nothing_and_is_waited_for_by_several(run):
    async def work() -> list[int]:
        process = await spawn(*python("import sys; sys.exit(len(sys.stdin.read()))"))
        return await asyncio.gather(process.wait(), process.wait())

    assert run(work()) == [0, 0]


def test_a_wait_that_is_given_up_leaves_it_running(run):
    async def work() -> tuple[int | None, int]:
        process = await spawn(*python("import signal; signal.pause()"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), 0.05)
        before = process.returncode
        os.kill(process.pid, signal.SIGTERM)
        return before, await process.wait()

    assert run(work()) == (None, -signal.SIGTERM)


def test_ended_it_is_killed_and_its_pipes_are_closed_though_its_child_holds_them(run):
    async def work() -> tuple[bytes, int | None, int]:
        text = "import subprocess, sys; c = subprocess.Popen(['sleep', '60']); print(c.pid, flush=True); c.wait()"
        process = await spawn(*python(text), stdout=PIPE, stderr=PIPE)
        child = int(await process.stdout.readline())
        open_before = len(os.listdir("/proc/self/fd"))
        await process.end()
        await asyncio.sleep(0)
        left = len(os.listdir("/proc/self/fd")) - open_before
        os.kill(child, signal.SIGKILL)
        return await process.stdout.read(), process.returncode, left

    assert run(work()) == (b"", -signal.SIGKILL, -3)


def test_ended_its_pipe_is_closed_though_somebody_has_it_open_and_does_not_read_what_was_written(run):
    async def once() -> int:
        text = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=2).pid, flush=True)"
        process = await spawn(*python(text), stdin=PIPE, stdout=PIPE)
        child = int(await process.stdout.readline())
        process.stdin.write(bytes(1 << 20))
        process.stdin.close()
        await process.end()
        os.kill(child, signal.SIGKILL)
        await asyncio.sleep(0)
        return len(os.listdir("/proc/self/fd"))

    async def work() -> list[int]:
        return [await once() for _ in range(3)]

    first, *others = run(work())
    assert others == [first, first]


def test_a_start_that_is_given_up_leaves_nothing_and_closes_no_descriptor_that_is_anothers_by_then(run):
    async def work() -> bool:
        before = children()
        start = asyncio.create_task(spawn("sleep", "60", stdin=PIPE, stdout=PIPE, start_new_session=True))
        await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        await asyncio.sleep(0)
        others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
        del start
        gc.collect()
        for one in others:
            os.close(one)
        return children() == before

    assert run(work())


def test_how_it_ended_is_known_where_whoever_started_us_ignores_the_end_of_processes():
    text = """
        import asyncio, signal
        from regrain_watchdog.spawned import spawn

        async def main():
            for _ in range(20):
                assert await (await spawn("false")).wait() == 1

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        asyncio.run(main())
    """
    subprocess.run(python(textwrap.dedent(text)), timeout=WAIT, check=True)


def test_ended_twice_or_after_its_end_is_no_error(run):
    async def work() -> int | None:
        process = await spawn("true", stdout=PIPE)
        await process.wait()
        await process.end()
        await process.end()
        return process.returncode

    assert run(work()) == 0


def test_a_program_that_is_not_there_is_an_error(run):
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run(spawn("no-such-program"))
