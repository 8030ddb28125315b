import asyncio

import uvloop

from regrain_watchdog.front.upstream.gate import Gate

NEVER = float("inf")


def test_the_most_urgent_request_is_let_in_first():
    async def main():
        gate = Gate(1, 10)
        entered = []

        async def enter(name, deadline, priority):
            await gate.enter(deadline, 0.0, priority)
            entered.append(name)
            gate.leave()

        await gate.enter(NEVER, 0.0, 5)
        far = asyncio.get_running_loop().time() + 60
        waiting = [
            asyncio.create_task(enter(*one))
            for one in [("late", NEVER, 5), ("soon", far, 5), ("sooner", far - 1, 5), ("first", NEVER, 0)]
        ]
        while gate.waiting < 4:
            await asyncio.sleep(0)
        gate.leave()
        await asyncio.gather(*waiting)
        return entered, gate.inside, gate.waiting

    assert uvloop.run(main()) == (["first", "sooner", "soon", "late"], 0, 0)


def test_a_place_whose_request_is_cancelled_as_its_turn_comes_goes_to_the_next():
    async def main():
        gate = Gate(1, 10)
        await gate.enter(NEVER, 0.0, 0)
        first, second = (asyncio.create_task(gate.enter(NEVER, 0.0, 0)) for _ in range(2))
        while gate.waiting < 2:
            await asyncio.sleep(0)
        gate.leave()
        first.cancel()
        async with asyncio.timeout(60):
            await second
        return first.cancelled(), gate.inside

    assert uvloop.run(main()) == (True, 1)
