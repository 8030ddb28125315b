"""The messages of inference.proto: the Open Inference Protocol.

Beside it lie the descriptor set that they are made from and the stub that types them; tests/protos.py compiles both.
"""

from __future__ import annotations

from pathlib import Path

from regrain.wire import protos

POOL, _messages = protos.load(Path(__file__).with_suffix(".binpb"))
globals().update(_messages)
