"""Look at this machine's own GPUs, in a process of its own: to look at one is to begin to use CUDA."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE

import msgspec
from msgspec import Struct

from regrain.errors import SpecError

TIMEOUT = 30.0
"""Seconds that looking may take."""


class Found(Struct, frozen=True):
    """A GPU as `python -m regrain_runtime gpu` tells it; memory in bytes."""

    uuid: str
    name: str
    sms: int
    memory: int


class Ability(Struct, frozen=True):
    """A backend by its name."""

    name: str


class Standing(Struct, frozen=True):
    """A backend, and why it does not work on this machine; "" if it does."""

    capability: Ability
    obstacle: str


class Survey(Struct, frozen=True):
    """What `python -m regrain_runtime gpu` tells of this machine."""

    devices: tuple[Found, ...]
    backends: tuple[Standing, ...]


async def survey(backend: str) -> tuple[Found, ...]:
    """Return the GPUs of this machine; SpecError if a backend does not work here."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "regrain_runtime", "gpu", stdout=PIPE, stderr=PIPE, stdin=DEVNULL
    )
    try:
        told, complaint = await asyncio.wait_for(process.communicate(), TIMEOUT)
        found = msgspec.json.decode(told, type=Survey)
    except (TimeoutError, msgspec.MsgspecError) as error:
        if process.returncode is None:
            process.kill()
            await process.wait()
        why = (
            "no answer in time"
            if isinstance(error, TimeoutError)
            else complaint.decode(errors="replace")[-300:]
        )
        raise SpecError(
            f"gpus was {backend!r}, and this machine's GPUs cannot be looked at: {why}"
        ) from error
    obstacle = next(
        (one.obstacle for one in found.backends if one.capability.name == backend), "it is unknown"
    )
    if obstacle or not found.devices:
        raise SpecError(f"gpus was {backend!r}, which does not work here: {obstacle or 'there is no GPU'}")
    return found.devices
