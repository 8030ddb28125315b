import asyncio
import os
import sys

import pytest
import uvloop

from regrain.errors import SpecError
from regrain_watchdog.front.upstream.process import Process

pytestmark = pytest.mark.process
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
)


def make(code, changed=lambda: None, **options):
    command = [sys.executable, "-c", code]
    return Process(command, environment=dict(os.environ), changed=changed, **options)


def test_a_process_that_ignores_sigterm_is_killed_in_bounded_time(caplog):
    async def main():
        read, write = os.pipe()
        process = make(
            STUBBORN.replace("print(1, flush=True)", f"import os; os.write({write}, b'1')"),
            descriptors=(write,),
            name="the stubborn one",
            patience=0.1,
        )
        await process.start()
        pid = process.pid
        assert await asyncio.to_thread(os.read, read, 1) == b"1"
        async with asyncio.timeout(60):
            await process.stop()
        os.close(read)
        os.close(write)
        return pid

    pid = uvloop.run(main())

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert caplog.messages == ["the stubborn one did not end within 0.1 s of SIGTERM: killed"]


def test_what_a_process_leaves_behind_ends_with_it():
    """It starts a child that would outlive it, and dies: the child holds the pipe until it is killed."""

    async def main():
        read, write = os.pipe()
        code = f"import subprocess, sys; subprocess.Popen(['sleep', '60'], pass_fds=[{write}]); sys.exit(3)"
        ended = asyncio.Event()
        process = make(code, changed=lambda: ended.set() if process.ended else None, descriptors=(write,))
        await process.start()
        async with asyncio.timeout(60):
            await ended.wait()
            how = process.ended
            await process.kill()
            os.close(write)
            assert await asyncio.to_thread(os.read, read, 1) == b""
        os.close(read)
        return how

    assert uvloop.run(main()) == "exit code 3"


@pytest.mark.parametrize("patience", [0.0, 0.1])
def test_what_hears_no_sigterm_is_killed_where_it_is_to_end_at_once(patience):
    async def main():
        read, write = os.pipe()
        code = STUBBORN.replace("print(1, flush=True)", f"import os; os.write({write}, b'1')")
        process = make(code, descriptors=(write,))
        await process.start()
        assert await asyncio.to_thread(os.read, read, 1) == b"1"
        pid = process.pid
        async with asyncio.timeout(60):
            await process.kill(patience)
        os.close(read)
        os.close(write)
        return pid

    with pytest.raises(ProcessLookupError):
        os.kill(uvloop.run(main()), 0)


def test_a_program_that_is_not_there_is_refused():
    with pytest.raises(SpecError, match="there is no program 'nowhere'"):
        Process(["nowhere"], environment={"PATH": "/bin"}, changed=lambda: None)
