"""What other apps have of a shared GPU, by its arbiter's books."""

import asyncio
import contextlib

import pytest

from regrain.wire.lease import Share
from regrain_runtime.gpu.client import Client
from regrain_watchdog.front.adapting.others import Others
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.survey import Found

GIB = 1 << 30


@pytest.fixture
def serve():
    """Serve a GPU's arbiter while something runs in a thread, given the GPUs and ways to a share and to the books.

    Whatever reads an arbiter's books does so where it is served.
    """

    def run(work):
        async def whole():
            gpus = Gpus(
                "app", [Found(uuid="", name="v100", sms=80, memory=16 * GIB)], folder="", backend="emulated"
            )
            await gpus.start()
            loop = asyncio.get_running_loop()

            async def answered(question):
                return question()

            def ask(question):
                return asyncio.run_coroutine_threadsafe(answered(question), loop).result()

            try:
                with contextlib.ExitStack() as stack:

                    def member(name, **share):
                        client = Client(str(gpus.arbiters[0].path), name, Share(**share))
                        return stack.enter_context(contextlib.closing(client))

                    return await asyncio.to_thread(work, gpus, member, ask)
            finally:
                gpus.stop()

        return asyncio.run(whole())

    return run


def test_memory_and_floors_of_others_count_and_ones_own_do_not(serve):
    def work(gpus, member, ask):
        for name, floor in (("other/a", 0.25), ("other/b", 0.25), ("app/own", 0.125)):
            with member(name, memory=2 * GIB, floor=floor).lease(0.1, seconds=0.01, timeout=60):
                pass
        return ask(lambda: Others(gpus).look(0.0))

    (taken,) = serve(work)

    assert taken.memory == 4 * GIB
    assert taken.share == 0.5


def test_what_others_use_counts_as_taken_for_as_long_as_they_do(serve):
    def work(gpus, member, ask):
        others = Others(gpus)
        found = [*ask(lambda: others.look(0.0))]
        with member("other/a", memory=GIB).lease(0.5, seconds=0.1, timeout=60):
            pass
        while any(one.sms for one in ask(lambda: gpus.arbiters[0].status().members)):
            pass  # it has not taken the lease back yet
        for second in range(1, 100):
            found += ask(lambda second=second: others.look(float(second)))
        return found

    before, after, *_, last = serve(work)

    assert before.share == 0.0
    assert after.share > 0.0
    assert last.share < after.share / 10
    assert last.memory == GIB


def test_without_gpus_there_is_nothing_to_tell():
    assert Others(None).look(0.0) == ()
