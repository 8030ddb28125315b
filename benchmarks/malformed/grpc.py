"""Calls over gRPC with something wrong in them: in the message, in the metadata, or already in the bytes of HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections.abc import AsyncIterator, Iterator

import grpc

from benchmarks.malformed import BOUND, HUNG
from regrain.wire.invoke_pb2 import Content, InvokeRequest
from regrain_watchdog.front.grpc import inference_pb2 as pb

OIP = "/inference.GRPCInferenceService/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
INFER, STREAM, INVOKE = f"{OIP}ModelInfer", f"{OIP}ModelStreamInfer", "/regrain.App/Invoke"
PAGES = tuple(
    f"{OIP}{name}"
    for name in (
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
    )
)
UNARY = (*PAGES, "/grpc.health.v1.Health/Check", "/regrain.App/Nothing", "/", "/a/b/c")
STREAMS = (STREAM, REFLECTION, "/grpc.health.v1.Health/Watch")
MODEL = "shapes"
ODD_INTS = (0, -1, 1, 2, 3, 4, 257, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))
ODD_TEXTS = (
    "",
    "x",
    "shapes",
    "FP32",
    "BYTES",
    "BOOL",
    "FP16",
    "BF16",
    "INT64",
    "nothing",
    "\0",
    "é" * 300,
    "x" * 9000,
)
METADATA = (
    ("x-timeout", "soon"),
    ("x-timeout", "1ns"),
    ("x-priority", "urgent"),
    ("x-call-id", "a b"),
    ("x-call-id", "x" * 300),
    ("x-data-bin", b"\0\xff"),
    ("traceparent", "00-0"),
    ("content-type", "text/plain"),
    ("x-many", "y" * 3000),
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WATCHED = 0.5
"""Seconds after which the client itself ends a call that has no end."""
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


class Calls:
    """Sends malformed calls over a few channels.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))
        self._channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(4)]

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def send(self, rng: random.Random) -> str:
        """Send one; return what came of it: gRPC's status, "bytes closed" and the like for no call, or "hung"."""
        kind = rng.random()
        try:
            async with asyncio.timeout(BOUND):
                if kind < 0.25:
                    return f"bytes {await self._send_bytes(rng)}"
                return await (self._stream(rng) if kind < 0.45 else self._unary(rng))
        except TimeoutError:
            return HUNG
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        except grpc.aio.UsageError:
            return "refused by the client"

    async def _unary(self, rng: random.Random) -> str:
        path = rng.choice((INFER, INFER, INVOKE, rng.choice(UNARY), rng.choice(STREAMS)))
        timeout = WATCHED if path.endswith("Watch") else _timeout(rng)
        call = rng.choice(self._channels).unary_unary(path)(
            message(path, rng), timeout=timeout, metadata=_metadata(rng)
        )
        if rng.random() < 0.05:
            await asyncio.sleep(rng.random() * 0.01)
            if call.cancel():
                return "cancelled"
        await call
        return "OK"

    async def _stream(self, rng: random.Random) -> str:
        path = rng.choice(STREAMS)
        messages = [message(path, rng) for _ in range(rng.choice((0, 1, 1, 3, 100)))]
        timeout = WATCHED if path.endswith("Watch") else _timeout(rng)
        call = rng.choice(self._channels).stream_stream(path)(
            _each(messages), timeout=timeout, metadata=_metadata(rng)
        )
        leaves = rng.random() < 0.2
        async for _ in call:
            if leaves:
                call.cancel()
                return "cancelled"
        return str((await call.code()).name)

    async def _send_bytes(self, rng: random.Random) -> str:
        data, end = garbled(rng), rng.choice(("half", "half", "drop", "wait"))
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(data)
                await writer.drain()
                if end == "drop":
                    return "dropped"
                if end == "half":
                    writer.write_eof()
                while await reader.read(1 << 16):
                    pass
            finally:
                writer.transport.abort()
        except OSError:
            return "reset"
        return "closed"


def message(path: str, rng: random.Random) -> bytes:
    """Return a message for a method: of another kind, with a wrong value, with wrong bytes, or too large."""
    if path in (INFER, STREAM):
        data = infer(rng).SerializeToString()
    elif path == INVOKE:
        data = _invoke(rng).SerializeToString()
    else:
        text = rng.choice(ODD_TEXTS).encode()[:120]
        data = b"".join(
            bytes((tag, len(text))) + text for tag in rng.sample((0x0A, 0x12, 0x1A, 0x22, 0x3A), 2)
        )
    match rng.randrange(8):
        case 0 | 1:
            return _bytewise(data, rng)
        case 2:
            return rng.randbytes(rng.randint(0, 60))
        case 3 if rng.random() < 0.1:
            return data + InvokeRequest(body=bytes(2 << 20)).SerializeToString()
        case _:
            return data


def infer(rng: random.Random) -> pb.ModelInferRequest:
    """Return a request of the protocol with wrong values in some places."""
    request = pb.ModelInferRequest(model_name=MODEL, id="1")
    x = request.inputs.add(name="x", datatype="FP32", shape=rng.choice(([2, 3], [1, 2, 3], [3, 2, 3])))
    count = 6 * (x.shape[0] if len(x.shape) == 3 else 1)
    if rng.random() < 0.5:
        request.raw_input_contents.append(struct.pack(f"<{count}f", *range(count)))
    else:
        x.contents.fp32_contents.extend(range(count))
    if rng.random() < 0.5:
        text = request.inputs.add(name="text", datatype="BYTES", shape=[1])
        if request.raw_input_contents:
            request.raw_input_contents.append(b"\1\0\0\0a")
        else:
            text.contents.bytes_contents.append(b"a")
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        _spoil(request, rng)
    return request


def _spoil(request: pb.ModelInferRequest, rng: random.Random) -> None:  # noqa: PLR0912 - a list of cases
    """Make one thing of a request wrong."""
    one = rng.choice(request.inputs) if request.inputs else request.inputs.add()
    match rng.randrange(14):
        case 0:
            request.model_name = rng.choice(ODD_TEXTS)
        case 1:
            request.model_version = rng.choice(ODD_TEXTS)
        case 2:
            one.name = rng.choice(ODD_TEXTS)
        case 3:
            one.datatype = rng.choice(ODD_TEXTS)
        case 4:
            one.shape[:] = [rng.choice(ODD_INTS) for _ in range(rng.choice((0, 1, 2, 3, 40)))]
        case 5 if one.shape:
            one.shape[rng.randrange(len(one.shape))] = rng.choice(ODD_INTS)
        case 6:
            request.raw_input_contents.append(rng.randbytes(rng.choice((0, 3, 24, 4096))))
        case 7 if request.raw_input_contents:
            at = rng.randrange(len(request.raw_input_contents))
            request.raw_input_contents[at] = rng.choice(
                (b"", request.raw_input_contents[at][:-1], b"\xff" * 24)
            )
        case 8:
            one.contents.int_contents.extend((1, -(1 << 31)))
        case 9:
            one.contents.bytes_contents.append(rng.randbytes(8))
        case 10:
            request.inputs.add().CopyFrom(one)
        case 11:
            request.outputs.add(name=rng.choice(("sum", "loud", *ODD_TEXTS)))
        case 12:
            name = rng.choice(("timeout", "sequence_id", "priority", "binary_data_output", "x"))
            request.parameters[name].int64_param = rng.choice(ODD_INTS)
        case _:
            one.parameters["shared_memory_region"].string_param = rng.choice(ODD_TEXTS)


def _invoke(rng: random.Random) -> InvokeRequest:
    bodies = (
        b'{"x": [[1,2,3],[4,5,6]]}',
        b'{"x": 1}',
        b"{",
        b"[" * 5000,
        b"\xff",
        b"",
        b'{"x": [[1e999,2,3]]}',
    )
    media = ("application/json", "text/plain", "application/x-npy", "multipart/form-data", "nothing", "")
    request = InvokeRequest(body=rng.choice(bodies), content_type=rng.choice(media))
    request.accept = rng.choice(("", "*/*", "application/json", "image/png", ";;q=x", "\0"))
    if rng.random() < 0.5:
        for name in rng.sample(("x", "text", "options", "other"), rng.randint(1, 4)):
            request.parameters[name].CopyFrom(
                Content(body=rng.choice(bodies), content_type=rng.choice(media))
            )
        if rng.random() < 0.8:
            request.body = b""
    return request


def _bytewise(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                changed[at:at] = rng.randbytes(rng.randint(1, 6))
            case 2:
                del changed[at : at + rng.randint(1, 9)]
            case _:
                changed[at:at] = changed[: rng.randrange(len(changed) + 1)]
    return bytes(changed)


def garbled(rng: random.Random) -> bytes:
    """Return a connection's bytes: nearly HTTP/2 with a call in it, or nothing like it."""
    payload = message(INFER, rng)[:8000]
    prefix = rng.choice((b"\0", b"\0", b"\1", b"\xff")) + struct.pack(
        ">I", rng.choice((len(payload), 1 << 31, 0))
    )
    frames = [
        PREFACE,
        SETTINGS,
        _frame(1, 4, 1, b"".join(_fields(rng))),
        _frame(0, rng.choice((0, 1)), 1, prefix + payload),
        _frame(
            rng.randrange(12),
            rng.randrange(256),
            rng.choice((0, 1, 2, 3, 1 << 30)),
            rng.randbytes(rng.randint(0, 40)),
        ),
    ]
    match rng.randrange(6):
        case 0:
            return rng.randbytes(rng.randint(1, 300))
        case 1:
            return b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        case 2:
            return b"".join(frames)[: rng.randrange(1, 120)]
        case 3:
            return b"".join(frames)
        case 4:
            rng.shuffle(frames)
            return PREFACE + b"".join(frames)
        case _:
            return PREFACE + SETTINGS + _bytewise(b"".join(frames[2:]), rng)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _fields(rng: random.Random) -> Iterator[bytes]:
    """A header block of literals, now and then with one too few or a strange one."""
    fields = [
        (b":method", rng.choice((b"POST", b"POST", b"GET"))),
        (b":scheme", b"http"),
        (b":path", rng.choice((INFER, STREAM, INVOKE)).encode()),
        (b":authority", b"x"),
        (b"te", b"trailers"),
        (b"content-type", rng.choice((b"application/grpc", b"application/grpc", b"text/plain"))),
        (b"grpc-timeout", rng.choice((b"1S", b"1S", b"-1S", b"99999999H", b"x"))),
        (b"grpc-encoding", rng.choice((b"identity", b"identity", b"gzip", b"nothing"))),
    ]
    if rng.random() < 0.3:
        del fields[rng.randrange(len(fields))]
    for name, text in fields:
        yield bytes((0, len(name))) + name + bytes((len(text),)) + text


def _timeout(rng: random.Random) -> float:
    """Seconds that the client waits: now and then hardly any."""
    return rng.choice((0.001, 0.02)) if rng.random() < 0.05 else 2 * BOUND


def _metadata(rng: random.Random) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(rng.sample(METADATA, rng.choice((1, 2)))) if rng.random() < 0.3 else ()


async def _each(messages: list[bytes]) -> AsyncIterator[bytes]:
    for one in messages:
        yield one


async def is_answered(port: int) -> bool:
    """Whether a good call is answered."""
    request = pb.ModelInferRequest(model_name=MODEL, raw_input_contents=[bytes(24)])
    request.inputs.add(name="x", datatype="FP32", shape=[2, 3])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with contextlib.suppress(grpc.aio.AioRpcError):
            answer = await channel.unary_unary(INFER)(request.SerializeToString(), timeout=BOUND)
            return pb.ModelInferResponse.FromString(answer).outputs[0].name == "sum"
    return False
