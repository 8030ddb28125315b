"""A call's values: its parameters on their way into shared memory, and its answer as it comes back out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus

import msgspec

from regrain.errors import RegrainError, RequestError, UnsupportedValueError
from regrain.graph import INPUT, Arg, Const, Ref
from regrain.json_schema import check_length
from regrain.manifest import Manifest, Parameter
from regrain.wire import frames
from regrain.wire.codec import pack, pack_list, plain, unpack_inline
from regrain_watchdog.front.call import MAX_ITEMS, Reply
from regrain_watchdog.front.flight import Flight, leaves
from regrain_watchdog.front.replica import Dispatch
from regrain_watchdog.front.reply import Copies, follow, listed, references
from regrain_watchdog.front.route import Route
from regrain_watchdog.front.segments import Pool


class Values:
    """Packs what calls bring and resolves what they get, for the calls of one route.

    max_items: how many a list of a call may have that a stage is mapped over, at whatever grain.
    """

    def __init__(self, manifest: Manifest, route: Route, pool: Pool, max_items: int = MAX_ITEMS) -> None:
        self._manifest = manifest
        self._pool = pool
        self._split = {
            ref.node
            for ref, consumers in route.consumers.items()
            if ref.is_input and any(consumer.each for consumer in consumers)
        }
        self._max_items = max_items
        self._mapped = {
            arg.node.removeprefix(INPUT)
            for node in manifest.graph.nodes
            for arg in node.args
            if node.mapped and isinstance(arg, Ref) and arg.is_input and not arg.path
        }
        self._schemas = {parameter.name: parameter.schema for parameter in manifest.parameters}
        self._defaults = {
            Ref(INPUT + parameter.name): self._default(parameter)
            for parameter in manifest.parameters
            if parameter.default
        }

    def enter(self, flight: Flight) -> dict[Ref, frames.Parts]:
        """Put a call's parameters into shared memory; the flight owns them.

        Raises:
            RequestError: a parameter cannot travel, or be mapped over (400); a list is too long (413).
        """
        self._check_lengths(flight.call.values)
        values = flight.call.values
        inputs = {ref: parts for ref, parts in self._defaults.items() if ref.node[1:] not in values}
        for name, value in values.items():
            ref = Ref(INPUT + name)
            flight.values[ref] = inputs[ref] = self._given(name, value, split=ref.node in self._split)
        return inputs

    def commit(self, dispatch: Dispatch, done: frames.Done) -> None:
        """Count the references that a dispatch's results hold; a warm-up's are held by nobody."""
        held = references(done) if dispatch.jobs else {}
        for extent in dispatch.extents:
            self._pool.commit(extent, held.pop(extent.generation, 0))
        for generation, count in held.items():  # handed on as it came
            for _ in range(count):
                self._pool.retain(generation)

    def release(self, values: Iterable[frames.Value]) -> None:
        """Let go of some values."""
        for value in values:
            for leaf in value.leaves:
                if leaf.segment >= 0:
                    self._pool.release(leaf.generation)

    def reply(self, flight: Flight) -> Reply:
        """Return what a call gets; RequestError (500) where it cannot be read."""
        early = flight.early
        if early is not None:
            return Reply(value=self._plain(early.value), status=early.status, headers=early.headers)
        if flight.call.items is not None:
            return Reply(value=flight.call.items.whole())
        return Reply(value=self._resolve(self._manifest.graph.output, flight))

    def _check_lengths(self, values: Mapping[str, object]) -> None:
        """RequestError (413) for a list of more items than may be mapped over, before it becomes as many units."""
        for name in self._mapped:
            value = values.get(name)
            if isinstance(value, list | tuple) and len(value) > self._max_items:
                detail = (
                    f"parameter {name!r} has {len(value)} items, over {self._max_items} (REGRAIN_MAX_ITEMS)"
                )
                raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)

    def _listed(self, name: str, value: object) -> list[object]:
        """Return a parameter's items, of which no replica sees the number; RequestError (400) for a wrong one."""
        items = listed(name, value)
        try:
            check_length(len(items), self._schemas[name])
        except ValueError as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"parameter {name!r}: {error}") from error
        return items

    def _default(self, parameter: Parameter) -> frames.Parts:
        value = msgspec.msgpack.decode(parameter.default, type=frames.Value)
        if INPUT + parameter.name not in self._split:
            return frames.Parts([value])
        return pack_list(listed(parameter.name, plain(value, None)), None)

    def _given(self, name: str, value: object, *, split: bool) -> frames.Parts:
        """Pack a parameter; RequestError (400) for one that cannot travel, such as lists nested too deeply."""
        try:
            return self._pack(self._listed(name, value) if split else value, split=split)
        except UnsupportedValueError as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"parameter {name!r}: {error}") from error

    def _pack(self, value: object, *, split: bool) -> frames.Parts:
        writer = self._pool.writer()
        packed: list[frames.Value] = []
        try:
            if split and isinstance(value, list):
                parts = pack_list(value, writer)
            else:
                parts = frames.Parts([pack(value, writer)])
            packed = parts.values
        finally:
            if writer.extents:
                counts = Counter(leaf.generation for leaf in leaves(packed))
                for extent in writer.extents:
                    self._pool.commit(extent, counts[extent.generation])
        return parts

    def _resolve(self, arg: Arg, flight: Flight) -> object:
        """Put the answer together as the flow returns it."""
        if isinstance(arg, Ref):
            parts = flight.values[Ref(arg.node) if arg.is_input else arg]
            values = [self._plain(value) for value in parts.values]
            value = values if parts.split else values[0]
            return follow(arg, value) if arg.is_input else value
        if isinstance(arg, Const):
            return unpack_inline(arg.data)
        values = [self._resolve(item, flight) for item in arg.items]
        return dict(zip(arg.keys, values, strict=True)) if arg.kind == "dict" else values

    def _plain(self, value: frames.Value) -> object:
        try:
            return plain(value, Copies(self._pool) if value.leaves else None)
        except RegrainError as error:
            detail = f"the answer cannot be read: {error}"
            raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, detail) from error
