"""The GPUs that a setting means: emulated ones, or this machine's own, which a process of its own looks at.

To look at one is to begin to use CUDA, which a process cannot undo.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tomllib
from pathlib import Path

import msgspec
from msgspec import Struct

from regrain.cards import PREFIX, parse_gpus
from regrain.errors import SpecError
from regrain_watchdog.front.config import Config
from regrain_watchdog.spawned import PIPE, spawn

logger = logging.getLogger(__name__)

REAL = ("lease", "green", "mps", "mig")
"""Ways of sharing this machine's own GPUs."""
EMULATED = "emulated"
LEASE = "lease"
MIG = "mig"
TIMEOUT = 30.0
"""Seconds that looking may take."""


class Found(Struct, frozen=True):
    """A GPU as `python -m regrain_runtime gpu` tells it; memory in bytes. uuid: "" for one that is emulated."""

    uuid: str
    name: str
    sms: int
    memory: int

    @property
    def part(self) -> float:
        """What part of a whole GPU it is."""
        return 1.0


class Instance(Found, frozen=True):
    """A MIG instance: so many of the `of` slices that its GPU has. whole: whether it is all of its GPU instance."""

    slices: int
    of: int
    whole: bool = True

    @property
    def part(self) -> float:
        """What part of its GPU it is."""
        return self.slices / self.of


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
    instances: tuple[Instance, ...]
    backends: tuple[Standing, ...]


def wanted(config: Config) -> str:
    """Return the GPUs that the settings or else their scenario name; "" without any.

    Raises:
        SpecError: there is no such scenario, or it is none; what else it says is for the replicas to check.
    """
    if config.scenario and not Path(config.scenario).is_file():
        raise SpecError(f"REGRAIN_SCENARIO (--scenario): there is no file {config.scenario!r}")
    return config.gpus or (_named(Path(config.scenario)) if config.scenario else "")


def _named(path: Path) -> str:
    """Return the emulated GPUs that a scenario's file names; "" where it names none."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: not a scenario that can be read: {error}") from error
    section = found.get(EMULATED) if isinstance(found, dict) else None
    gpus = section.get("gpus", "") if isinstance(section, dict) else ""
    if not isinstance(gpus, str) or (gpus and not gpus.startswith(PREFIX)):
        raise SpecError(f"{path}: gpus of [{EMULATED}] are such as 'emulated:v100x2', was {gpus!r}")
    return gpus


async def devices(gpus: str) -> tuple[str, tuple[Found, ...]]:
    """Return the backend and the GPUs that a setting means; SpecError if it means none that there are."""
    if gpus in REAL:
        return gpus, await survey(gpus)
    if not gpus.startswith(PREFIX):
        allowed = f"emulated ones such as 'emulated:v100x2', or this machine's by {', '.join(REAL)}"
        raise SpecError(f"gpus was {gpus!r}; allowed are {allowed}")
    cards = parse_gpus(gpus)
    return EMULATED, tuple(Found(uuid="", name=card.name, sms=card.sms, memory=card.memory) for card in cards)


async def survey(backend: str) -> tuple[Found, ...]:
    """Return the GPUs of this machine, for `mig` the instances that share no memory, the smallest first.

    SpecError if a backend does not work here.
    """
    process = await spawn(sys.executable, "-m", "regrain_runtime", "gpu", stdout=PIPE, stderr=PIPE)
    try:
        told, complaint = await asyncio.wait_for(process.communicate(), TIMEOUT)
        found = msgspec.json.decode(told, type=Survey)
    except (TimeoutError, msgspec.MsgspecError) as error:
        why = (
            "no answer in time"
            if isinstance(error, TimeoutError)
            else complaint.decode(errors="replace")[-300:]
        )
        raise SpecError(
            f"gpus was {backend!r}, and this machine's GPUs cannot be looked at: {why}"
        ) from error
    finally:
        await process.end()
    obstacle = next(
        (one.obstacle for one in found.backends if one.capability.name == backend), "it is unknown"
    )
    if obstacle or not (found.instances if backend == MIG else found.devices):
        raise SpecError(f"gpus was {backend!r}, which does not work here: {obstacle or 'there is no GPU'}")
    if backend != MIG:
        return found.devices
    for one in found.instances:
        if not one.whole:
            logger.warning(
                "%s (%s) is left out: parts of a GPU instance share its memory", one.name, one.uuid
            )
    whole = [one for one in found.instances if one.whole]
    return tuple(sorted(whole, key=lambda one: (one.part, one.memory, one.uuid)))
