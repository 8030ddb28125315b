"""Frames from a hostile replica (benchmarks/apps/hostile.py): a good request, then one that has it send something."""

from __future__ import annotations

import asyncio
import random

from benchmarks.malformed import BOUND, HUNG

GOOD = b"good"


async def send(port: int, rng: random.Random) -> str:
    """Have a replica send one; return the status of its request, or what became of the good request before it."""
    status, _ = await ask(port, GOOD)
    if status != "200":
        return f"good request: {status}"
    accept = rng.choice(("application/json", "*/*"))  # of a stream: collected, or item by item
    return (await ask(port, str(rng.getrandbits(64)).encode(), accept))[0]


async def ask(port: int, body: bytes, accept: str = "*/*") -> tuple[str, bytes]:
    """Ask the app; return the status and all that followed, or "hung" or "cut off"."""
    head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\nAccept: {accept}\r\n\r\n"
    try:
        async with asyncio.timeout(BOUND):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head.encode() + body)
                said = await reader.read()
            finally:
                writer.transport.abort()
    except TimeoutError:
        return HUNG, b""
    except OSError:
        return "cut off", b""
    return said[9:12].decode("ascii", "replace") or "closed", said
