"""Stages that write to their replica's own socket what no honest replica would, from the seed in the request.

A request is "good", or the number that seeds what is sent: frames that are nearly right (a wrong value somewhere, a
wrong byte, half of one, one of the other direction), noise, descriptors. They know their run and where its results may
lie, as anything that runs in a replica can. `app` answers once, `flowing` item by item.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import msgspec

from regrain import App
from regrain.wire import frames
from regrain.wire.codec import pack

app = App("hostile", sample=b"good")
flowing = App("flowing", sample=b"good")

GOOD = b"good"
LARGE = 4096
"""Bytes of a good answer: too many to ride inline, so that runs are granted extents."""
VALUES = (
    None,
    True,
    -1,
    1 << 63,
    1.5,
    "text",
    b"bytes",
    [1, [2, []]],
    {"a": {"b": 1}},
    {1: 2},
    (1, 2),
    "x" * 2000,
)
ODD = (
    None,
    True,
    0,
    -1,
    1 << 31,
    1 << 40,
    (1 << 64) - 1,
    -(1 << 63),
    float("nan"),
    float("inf"),
    -1.0,
    1e308,
    "",
    "\0\r\n",
    "x" * 5000,
    b"",
    b"\xc7\x00\x01",
    b"\xff" * 100,
    [],
    {},
    [[]],
)
DTYPES = (
    "<f4",
    "<f8",
    "|S0",
    "<U0",
    "|V0",
    "bytes",
    "str",
    "torch.float32",
    "torch.bfloat16",
    "object",
    "[]",
    "<M8[ns]",
)


@app.stage()
def act(body: bytes) -> bytes:
    if body != GOOD:
        spoil(random.Random(body))
    return body * (LARGE // len(body))


@app.stage()
def size(answer: object) -> int:
    return len(answer) if isinstance(answer, bytes | str | list | dict | tuple) else 0


@app.flow
def run(body: bytes) -> dict[str, object]:
    answer = act(body)
    return {"answer": answer, "size": size(answer)}


@flowing.stage()
def flow(body: bytes) -> Iterator[str]:
    yield "first"
    if body != GOOD:
        spoil(random.Random(body))
    yield "last"


@flowing.flow
def run_flowing(body: bytes) -> Iterator[str]:
    return flow(body)


def spoil(rng: random.Random) -> None:
    """Send a few malformed messages to the front; then go on, or end without a word."""
    data = b"".join(_message(rng) for _ in range(rng.choice((1, 1, 1, 2, 5))))
    with _front() as sock, contextlib.suppress(OSError):
        if rng.random() < 0.05:
            socket.send_fds(sock, [data], [0] * rng.randint(1, 30))
        else:
            sock.sendall(data)
        if rng.random() < 0.1:
            sock.shutdown(rng.choice((socket.SHUT_WR, socket.SHUT_RDWR)))
    if rng.random() < (
        0.95 if _left(data) else 0.2
    ):  # else the front waits for the rest until its `hang_timeout`
        os._exit(rng.choice((0, 1)))


def _message(rng: random.Random) -> bytes:
    frame = frames.encode(rng.choice(_frames(rng)))
    match rng.randrange(10):
        case 0:
            return _bytewise(frame, rng)
        case 1:
            return rng.randbytes(rng.randint(1, 400))
        case 2:
            return frame[: rng.randrange(1, len(frame))]
        case 3:
            length = rng.choice((0, 1, 2, 1 << 20, frames.MAX_FRAME, frames.MAX_FRAME + 1, (1 << 32) - 1))
            return frames.HEADER.pack(length, rng.choice((0, 1, 1, 1, 255))) + frame[5:]
        case 4:
            return frame
        case _:
            return _valuewise(frame, rng)


def _bytewise(frame: bytes, rng: random.Random) -> bytes:
    """One byte or a few of the body are others."""
    changed = bytearray(frame)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(frames.HEADER.size, len(changed))] = rng.randrange(256)
    return bytes(changed)


def _valuewise(frame: bytes, rng: random.Random) -> bytes:
    """Somewhere in it is another value, one too many or one too few; it is msgpack as before."""
    told = msgspec.msgpack.decode(frame[frames.HEADER.size :])
    for _ in range(rng.choice((1, 1, 2))):
        holders = [one for one in _lists(told) if one]
        holder = rng.choice(holders) if holders else told
        at = rng.randrange(len(holder)) if holder else 0
        match rng.randrange(6):
            case 0 if holder:
                del holder[at]
            case 1 if holder:
                holder.insert(at, holder[at])
            case 2 if holder and isinstance(holder[at], int):
                holder[at] += rng.choice((-1, 1, 64, 1 << 20))
            case _:
                holder[at : at + 1] = [rng.choice(ODD)]
    body = msgspec.msgpack.encode(told)
    return frames.HEADER.pack(len(body) + 1, frames.VERSION) + body


def _lists(told: object) -> Iterator[list[object]]:
    if isinstance(told, list):
        yield told
        for item in told:
            yield from _lists(item)


def _frames(rng: random.Random) -> list[frames.Frame]:
    """Frames that an honest replica might send now, and a few that none would."""
    run = _run()
    value = rng.choice((_value(rng), pack(rng.choice(VALUES), None)))
    result = frames.Result([frames.Parts([value])])
    timing = frames.Timing("act", rng.choice((0.001, *(one for one in ODD if type(one) is float))), 1, 1)
    outcomes = (
        result,
        frames.Fault(
            rng.choice((500, 404, 99, -1)),
            rng.choice(("act", "\n")),
            rng.choice(("no", "\0" * 10_000)),
            {"x-\r\n": "a\r\nb", "content-length": "1", "connection": "close", "x": "y" * 100_000},
        ),
        frames.Answered(rng.choice((200, 599, 204, 100)), {"x-\r\n": "a\r\nb", "content-type": "\0"}, value),
    )
    return [
        *(frames.Done(run.id, [outcome], [timing]) for outcome in outcomes),
        frames.Done(run.id, [result], []),
        frames.Done(run.id + 1, [result, result], [timing]),
        *[frames.Item(run.id, value)] * 3,
        frames.Need(run.id, rng.choice((0, 1, 1 << 16, 1 << 40, -1))),
        frames.Loaded(("act",), {"act": float("nan"), "other": 1e308}),
        frames.LoadFailed("act", "it broke\r\nhere"),
        frames.Forked(1, 1),
        frames.Hello(b"{}", ""),
        frames.Grant(run.id, None),
        frames.Stop(),
    ]


def _value(rng: random.Random) -> frames.Value:
    """A value whose leaves lie where this run may write, or a little beside; with a skeleton that may name them."""
    run = _run()
    leaves = []
    for _ in range(rng.randint(0, 3)):
        extent = rng.choice(run.extents or [frames.Extent(1, 0, 16384, 1)])
        nbytes = rng.choice((0, 8, 4096, extent.nbytes, extent.nbytes + 1, -8))
        shape = rng.choice(
            ((nbytes,), (nbytes // 4,), (), (2, 2), (0, 1 << 62), (1 << 40,), (-1, -8), (1,) * 70)
        )
        strides = rng.choice(((), (), (0,) * len(shape), (4,), (-4,), (1 << 62,)))
        generation = extent.generation + rng.choice((0, 0, 0, -1, 1))
        inline = rng.choice((b"", b"abcd"))
        segment = rng.choice((extent.segment, extent.segment, -1, -2, 1))
        leaves.append(
            frames.Leaf(
                rng.choice(DTYPES), shape, strides, segment, extent.offset, nbytes, generation, inline
            )
        )
    one = b"\xc7\x00\x01"
    nested = b"\x91" * rng.choice((1, 5, 3000)) + one
    many = bytes((0x90 + len(leaves),)) + one * len(leaves)
    kinds = b"".join(bytes((0xC7, 1, kind, rng.randrange(256))) for kind in range(2, 12))
    skeleton = rng.choice((one, many, many, nested, b"\x9a" + kinds, rng.randbytes(20)))
    return frames.Value(skeleton, tuple(leaves), rng.choice((0.0, float("nan"), 1e308)))


def _left(data: bytes) -> int:
    """Bytes behind the last whole frame."""
    at = 0
    while len(data) - at >= frames.HEADER.size:
        end = at + 4 + frames.HEADER.unpack_from(data, at)[0]
        if end > len(data):
            break
        at = end
    return len(data) - at


def _run() -> frames.Run:
    """The run that this stage is called for, out of the frames of the loop that called it."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        for held in frame.f_locals.values():
            if isinstance(held, frames.Run):
                return held
        frame = frame.f_back
    return frames.Run(1, 1, [], [])


@contextlib.contextmanager
def _front() -> Iterator[socket.socket]:
    """Our end of the socket to the front."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
            if sock.family == socket.AF_UNIX:
                yield sock
                return
    raise RuntimeError("there is no socket to the front")
