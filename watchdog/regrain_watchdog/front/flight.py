"""A request under way: which values it has, and what can run next.

A small state machine without I/O: results go in, jobs that have become ready and values that nobody needs any
more come out. Items of a map are followed one by one, so that between two mapped groups they flow on without
waiting for each other; whoever takes the whole list waits for the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from regrain.errors import RegrainError
from regrain.graph import Ref
from regrain.plan import Step
from regrain.wire.frames import Answered, Leaf, Parts, Unit, Value
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.route import Route

WHOLE = -1
"""The item of a job that is for the whole request."""


class LengthError(RegrainError):
    """Lists that a stage is mapped over have different lengths.

    Attributes:
        stage: the stage.
    """

    def __init__(self, stage: str, *lengths: int) -> None:
        found = " and ".join(map(str, lengths))
        super().__init__(f"stage {stage!r} is mapped over lists of different lengths: {found}")
        self.stage = stage


@dataclass(slots=True, eq=False)
class Job:
    """A unit that can run: a step for the whole request (item WHOLE) or for one item of a map.

    deaths: how often it was in a dispatch whose replica died. alone: it shares its next dispatch with nobody.
    """

    flight: Flight
    step: int
    item: int
    values: list[Parts]
    deaths: int = 0
    alone: bool = False

    def unit(self) -> Unit:
        """Return it as a replica is given it."""
        call = self.flight.call
        return Unit(call.id, self.flight.slot, call.deadline, call.headers, self.values)


@dataclass(slots=True)
class _Items:
    """How far a per-item step is: inputs seen per item, and items that are not done."""

    seen: list[int]
    left: int
    done: bool = False


@dataclass(slots=True, eq=False)
class Flight:
    """A request on its route.

    released: values that nobody needs any more; whoever drives the flight takes them and clears the list.
    flying: jobs that are at a replica; its values must stay until they are back, also if the flight has ended.
    waiting: jobs that wait for a replica.
    number: under which the request was noted for the controller; -1 where nobody notes any.
    slot: its place on the cancel board. early: how a stage ended it by regrain.answer(), if one did.
    """

    route: Route
    call: Call
    slot: int = 0
    early: Answered | None = None
    values: dict[Ref, Parts] = field(default_factory=dict)
    released: list[Value] = field(default_factory=list)
    ended: bool = False
    flying: int = 0
    waiting: int = 0
    number: int = -1
    _uses: dict[Ref, int] = field(default_factory=dict)
    _missing: list[int] = field(default_factory=list)
    _items: dict[int, _Items] = field(default_factory=dict)
    _partial: dict[Ref, list[Value | None]] = field(default_factory=dict)

    def start(self, inputs: dict[Ref, Parts]) -> list[Job]:
        """Enter the route with the request's parameters; return the jobs that can run."""
        self._uses = dict(self.route.uses)
        self._missing = list(self.route.wholes)
        jobs: list[Job] = []
        for place, step in enumerate(self.route.steps):
            if not step.inputs:  # a step of constants only
                jobs.append(Job(self, place, WHOLE, []))
        used: list[tuple[Ref, Parts]] = []
        for ref, parts in inputs.items():
            if ref in self.route.uses:
                used.append((ref, parts))
            else:
                self.values.pop(ref, None)
                self.released.extend(parts.values)
        self._arrive_all(used, jobs)
        return jobs

    def finish(self, job: Job, outputs: list[Parts]) -> list[Job]:
        """Take what a job gave, one Parts per output of its step; return the jobs that can run now."""
        step = self.route.steps[job.step]
        jobs: list[Job] = []
        if job.item == WHOLE:
            refs = [output.ref for output in step.outputs]
            self._arrive_all(list(zip(refs, outputs, strict=True)), jobs)
            self._used(step)
            return jobs
        for output, parts in zip(step.outputs, outputs, strict=True):
            self._partial[output.ref][job.item] = parts.values[0]
            self._notify_items(output.ref, job.item, jobs)
        items = self._items[job.step]
        items.left -= 1
        if not items.left:
            self._finish_items(job.step, jobs)
        return jobs

    def is_answered(self) -> bool:
        """Whether all that the answer needs is there."""
        return self.values.keys() >= self.route.answer

    def held(self) -> Iterator[Value]:
        """Every value that the flight still holds."""
        for parts in self.values.values():
            yield from parts.values
        for items in self._partial.values():
            yield from (value for value in items if value is not None)
        if self.early is not None:
            yield self.early.value

    def widths(self) -> Iterator[tuple[int, int]]:
        """The steps that went item by item, with their numbers of items."""
        return ((place, len(items.seen)) for place, items in self._items.items())

    def clear(self) -> None:
        """Hold nothing any more."""
        self.values.clear()
        self.released.clear()
        self._partial.clear()
        self.early = None

    def _arrive_all(self, entries: list[tuple[Ref, Parts]], jobs: list[Job]) -> None:
        """Values are there as a whole. Also those after one of the wrong length are held from here on."""
        for place, (ref, parts) in enumerate(entries):
            try:
                self._arrive(ref, parts, jobs)
            except LengthError:
                self.values.update(entries[place + 1 :])
                raise

    def _arrive(self, ref: Ref, parts: Parts, jobs: list[Job]) -> None:
        """A value is there as a whole."""
        self.values[ref] = parts
        for consumer in self.route.consumers.get(ref, ()):
            if consumer.each:
                self._begin_items(consumer.step, len(parts.values))
                for item in range(len(parts.values)):
                    self._seen(consumer.step, item, jobs)
                self._finish_if_empty(consumer.step, jobs)
            else:
                self._whole(consumer.step, jobs)

    def _whole(self, place: int, jobs: list[Job]) -> None:
        """A step got one of the values that it takes whole."""
        self._missing[place] -= 1
        if self._missing[place]:
            return
        if not self.route.steps[place].per_item:
            jobs.append(self._job(place, WHOLE))
            return
        items = self._items.get(place)
        if items is not None:
            wanted = self.route.eaches[place]
            jobs.extend(self._job(place, item) for item, seen in enumerate(items.seen) if seen == wanted)
            self._finish_if_empty(place, jobs)

    def _begin_items(self, place: int, count: int) -> None:
        """The number of items of a per-item step is known, and so of those that follow it."""
        items = self._items.get(place)
        if items is not None:
            if len(items.seen) != count:
                raise LengthError(self.route.steps[place].stages[0], len(items.seen), count)
            return
        self._items[place] = _Items([0] * count, count)
        for output in self.route.steps[place].outputs:
            self._partial[output.ref] = [None] * count
            for consumer in self.route.consumers.get(output.ref, ()):
                if consumer.each:
                    self._begin_items(consumer.step, count)

    def _seen(self, place: int, item: int, jobs: list[Job]) -> None:
        """One item of one input has come for a per-item step."""
        items = self._items[place]
        items.seen[item] += 1
        if items.seen[item] == self.route.eaches[place] and not self._missing[place]:
            jobs.append(self._job(place, item))

    def _notify_items(self, ref: Ref, item: int, jobs: list[Job]) -> None:
        for consumer in self.route.consumers.get(ref, ()):
            if consumer.each:
                self._seen(consumer.step, item, jobs)

    def _finish_if_empty(self, place: int, jobs: list[Job]) -> None:
        items = self._items[place]
        if not items.seen and not items.done and not self._missing[place] and self._each_arrived(place):
            self._finish_items(place, jobs)

    def _each_arrived(self, place: int) -> bool:
        return all(entry.ref in self.values for entry in self.route.steps[place].inputs if entry.each)

    def _finish_items(self, place: int, jobs: list[Job]) -> None:
        """The last item of a per-item step is done: its lists are whole."""
        step = self.route.steps[place]
        self._items[place].done = True
        for output in step.outputs:
            values = [value for value in self._partial.pop(output.ref) if value is not None]
            self.values[output.ref] = Parts(values, split=True)
            for consumer in self.route.consumers.get(output.ref, ()):
                if not consumer.each:
                    self._whole(consumer.step, jobs)
                else:
                    self._finish_if_empty(consumer.step, jobs)
        self._used(step)

    def _job(self, place: int, item: int) -> Job:
        values = [
            Parts([self._item(entry.ref, item)]) if entry.each else self.values[entry.ref]
            for entry in self.route.steps[place].inputs
        ]
        return Job(self, place, item, values)

    def _item(self, ref: Ref, item: int) -> Value:
        parts = self.values.get(ref)
        value = parts.values[item] if parts is not None else self._partial[ref][item]
        assert value is not None
        return value

    def _used(self, step: Step) -> None:
        """A step is through with its inputs: let go of those that nobody else takes."""
        for ref in {entry.ref for entry in step.inputs}:
            self._uses[ref] -= 1
            if not self._uses[ref]:
                self.released.extend(self.values.pop(ref).values)


def leaves(values: Iterator[Value] | list[Value]) -> Iterator[Leaf]:
    """Every leaf of some values that lies in a segment."""
    return (leaf for value in values for leaf in value.leaves if leaf.segment >= 0)
