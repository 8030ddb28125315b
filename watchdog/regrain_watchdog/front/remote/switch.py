"""Frames between two pods over a connection that was HTTP's: how it is switched, and what proves each frame.

A pod asks for it by GET /_/groups with `upgrade: regrain-frames/1` and a nonce; the answer is 101 with another one.
From there on requests are a `HEAD` and a frame, answers an `ANSWER` and a body, one after the other. A head begins with
the keyed BLAKE3 of all behind it, under a key of this connection alone, and has a number, which counts up: what was
recorded proves nothing, here or elsewhere. The first frame is empty and has no answer. Before it came nothing larger is
received, since the request for the switch itself may be one that somebody recorded.
"""

from __future__ import annotations

import secrets
import struct

from blake3 import blake3

PROTOCOL = "regrain-frames/1"
NONCE = "x-regrain-nonce"
PURPOSE = "regrain 2026-11-23 frames between pods"
"""What the key of a connection is for (BLAKE3's context string)."""
MAC = 32
"""Bytes of a keyed BLAKE3."""
HEAD = struct.Struct("<QQQ")
"""Behind the MAC: the number of the frame on this connection, the epoch, the bytes of the frame."""
ANSWER = struct.Struct("<QHH")
"""The bytes of the answer, its status as HTTP has them, and whether the connection stays."""
NONCE_SIZE = 32


def nonce() -> str:
    """Return what nobody can have known before."""
    return secrets.token_hex(NONCE_SIZE)


def is_nonce(text: str) -> bool:
    """Whether a text may be a nonce."""
    return len(text) == 2 * NONCE_SIZE and text.isascii() and text.isalnum()


def key(secret: str, version: str, asked: str, answered: str) -> bytes:
    """Return the key of a connection: of the app's version, and the nonces of who asked for it and who answered."""
    made = blake3(derive_key_context=PURPOSE)
    for part in (secret, version, asked, answered):
        data = part.encode()
        made.update(len(data).to_bytes(8, "little") + data)
    return made.digest()
