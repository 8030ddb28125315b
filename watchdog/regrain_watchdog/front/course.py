"""What the groups of a route expect of each other: how long a unit still has to go, and who is let in.

A request is refused at the door where it would be late behind what waits already, and where the queues are full. What
cannot be in time in the middle of its way is dealt with in the groups' lines (policy/shed.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.flight import Job
from regrain_watchdog.front.function import Function, no_time
from regrain_watchdog.front.route import Route
from regrain_watchdog.policy import restart
from regrain_watchdog.policy.admit import admits, retry_after
from regrain_watchdog.policy.deadline import REFRESH, remaining
from regrain_watchdog.policy.queue import NO_DEADLINE


class Course:
    """The functions of a route, as requests pass through them.

    max_queue: requests that may wait at once.
    """

    def __init__(self, route: Route, functions: Sequence[Function], max_queue: int) -> None:
        self._functions = functions
        self._max_queue = max_queue
        self._after = [
            sorted(
                {consumer.step for output in step.outputs for consumer in route.consumers.get(output.ref, ())}
            )
            for step in route.steps
        ]
        self._entries = sorted(
            set(range(len(route.steps))) - {step for steps in self._after for step in steps}
        )
        self._expected = self._safe = self._lasting = [0.0] * len(functions)
        self._looked = float("-inf")
        for place, function in enumerate(functions):
            function.left = partial(self.left, place)

    def end(self) -> None:
        """Let go of the functions, which ask for `left`."""
        for function in self._functions:
            function.left = no_time
        self._functions = ()

    def left(self, place: int, now: float) -> tuple[float, float, float]:
        """Return the seconds from the begin of a step to the end of the request.

        As a rule; rarely exceeded; both if it goes alone there. And rarely exceeded in the usual batch if nothing is
        forgotten, by which it is waited for company: to wait too short costs little, and too long the request.
        """
        self._look(now)
        saved = self._functions[place].cost.saved
        return self._expected[place] - saved, self._safe[place] - saved, self._lasting[place]

    def _look(self, now: float) -> None:
        """Work out anew what the steps have before them, unless that was done just now."""
        if now - self._looked > REFRESH:
            self._looked = now
            beliefs = [function.cost.belief(now) for function in self._functions]
            costs = [function.cost for function in self._functions]
            expected = [cost.mean * belief for cost, belief in zip(costs, beliefs, strict=True)]
            safe = [cost.safe * belief for cost, belief in zip(costs, beliefs, strict=True)]
            self._expected = remaining(expected, self._after)
            self._safe = remaining(safe, self._after)
            self._lasting = remaining([cost.safe for cost in costs], self._after)

    def refusal(self, call: Call, now: float) -> RequestError | None:
        """Return why a call is not let in; None where it is."""
        waits = call.firm
        for function in self._functions:
            if function.is_looping and not function.is_serving:
                return crash_loop(function)
            waits = waits or len(function) > 0
        if not waits or not call.deadline:
            return None
        ahead, left, alone = self._ahead(call, now)
        slack = call.deadline - now
        if admits(ahead=ahead, left=left, alone=alone, slack=slack, firm=call.firm):
            return None
        if call.firm and left > slack:  # nothing to come again for: it takes that long
            stage = next((self._functions[place].group.stages[0] for place in self._entries), "")
            detail = f"late: it takes {left:.3g} s and {max(0.0, slack):.3g} s were left, so nothing was run"
            return RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail, stage=stage)
        return self._full(f"it would be late: what waits before it takes {ahead:.3g} s")

    def make_room(self, call: Call, waiting: int) -> RequestError | None:
        """Refuse a less urgent request in favour of a call if too many wait; return why the call is not let in."""
        if waiting < self._max_queue:
            return None
        worst = max(self._waiting(), key=_leisure, default=None)
        full = self._full(f"{self._max_queue} requests wait already")
        if worst is None or worst.flight.call.priority <= call.priority:
            return full
        self._functions[worst.step].refuse(worst, full)
        return None

    def full(self, waiting: int) -> RequestError | None:
        """Return why no more units are taken for others where so many requests are under way; None where they are."""
        if waiting <= self._max_queue:
            return None
        return self._full(f"{self._max_queue} requests are under way already")

    def forget(self) -> None:
        """A request has ended of which jobs wait."""
        for function in self._functions:
            function.forget()

    def whereabouts(self, call: Call) -> str:
        """Return a stage of the group that holds a call, or ""."""
        for function in self._functions:
            holding = [one.holding for one in function.replicas] + [one.holding for one in function.peers]
            held = (job for held in holding for one in held.values() for job in one.jobs)
            if any(job.flight.call is call for job in (*function.waiting(), *held)):
                return function.group.stages[0]
        return ""

    def _ahead(self, call: Call, now: float) -> tuple[float, float, float]:
        """Return the seconds that a call would wait on its way, those that it takes, and those if it goes alone."""
        self._look(now)
        beliefs = [function.cost.belief(now) for function in self._functions]
        costs = [function.cost for function in self._functions]
        least = self._longest([cost.alone * belief for cost, belief in zip(costs, beliefs, strict=True)])
        left = max(
            ((self._expected if call.firm else self._safe)[place] for place in self._entries), default=0.0
        )
        waits = [
            function.ahead(priority=call.priority, deadline=call.deadline) for function in self._functions
        ]
        if not any(waits):
            return 0.0, left, least
        means = [cost.mean * belief for cost, belief in zip(costs, beliefs, strict=True)]
        whole = self._longest([wait + mean for wait, mean in zip(waits, means, strict=True)])
        usual = max((self._expected[place] for place in self._entries), default=0.0)
        return max(0.0, whole - usual), left, least

    def _longest(self, costs: Sequence[float]) -> float:
        """Return the seconds of the longest way through, given those of each step."""
        left = remaining(costs, self._after)
        return max((left[place] for place in self._entries), default=0.0)

    def _waiting(self) -> Iterator[Job]:
        """Jobs of requests of which nothing runs."""
        for function in self._functions:
            yield from (job for job in function.waiting() if not job.flight.ended and not job.flight.flying)

    def _full(self, detail: str) -> RequestError:
        seconds = max((function.drained_in() for function in self._functions), default=0.0)
        return RequestError(
            HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(retry_after(seconds))}
        )


def crash_loop(function: Function) -> RequestError:
    """Return the error of a request for which no replica lasts long enough."""
    return RequestError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"crash-loop: replicas of {function.seat.name} end as soon as they start",
        headers={"Retry-After": str(retry_after(restart.delay(function.deaths)))},
    )


def _leisure(job: Job) -> tuple[int, float]:
    """How little urgent a job is."""
    call = job.flight.call
    return call.priority, call.deadline or NO_DEADLINE
