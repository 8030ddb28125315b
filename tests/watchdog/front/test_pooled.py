import asyncio
import mmap
import time

from regrain.graph import Graph, Node, Ref
from regrain.plan import Fluid, Group, Lane, Plan
from regrain.wire.codec import pack
from regrain.wire.frames import Parts
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.flight import Flight
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.learned import Learned
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.pooled import pools
from regrain_watchdog.front.replica import Replica, State
from regrain_watchdog.front.route import make_route
from regrain_watchdog.front.segments import Pool

GRAPH = Graph(("s",), (Node("a", (Ref("$s"),)), Node("b", (Ref("a"),))), Ref("b"))
TIMEOUT = 60.0


class Stand:
    """A fluid group of two stages over one replica that nobody answers for; the test does."""

    def __init__(self, *, max_wait: float) -> None:
        lanes = (Lane(stage="a", max_size=4), Lane(stage="b"))
        fluid = Fluid(share=0.0, lanes=lanes)
        plan = Plan((Group(stages=("a", "b"), max_size=4, max_wait=max_wait, fluid=fluid),))
        self.route, measure = make_route(GRAPH, plan), Measure()
        self.first, self.second = (
            Function(group, Learned(step), measure=measure, owner=self, pool=pool)
            for (group, pool), step in zip(pools(plan, lambda _: 0), self.route.steps, strict=True)
        )
        self.replica = Replica(1, Pool(1 << 20), mmap.mmap(-1, 4096), None, self.first, [], state=State.READY)
        self.first.join(self.replica)

    def bring(self) -> None:
        call = Call(id="test", values={}, headers=b"", arrived=time.monotonic())
        [job] = Flight(self.route, call).start({Ref("$s"): Parts([pack(1, None)])})
        self.first.bring(job)


def test_a_batch_that_does_not_fill_goes_when_it_is_due():
    async def scenario():
        stand = Stand(max_wait=0.01)
        began = time.monotonic()

        stand.bring()

        assert not stand.replica.holding
        async with asyncio.timeout(TIMEOUT):
            while not stand.replica.holding:
                await asyncio.sleep(0.001)
        assert time.monotonic() - began >= 0.01

    asyncio.run(scenario())
