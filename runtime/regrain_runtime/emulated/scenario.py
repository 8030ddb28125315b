"""What is emulated: which GPUs, and which measured model each stage stands for.

It stands in the scenario file, never in the app: the app's code runs unchanged on a real GPU, and what its
stages cost here is no more its business than the speed of a real card is.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from regrain.cards import Card, parse_gpus, priced
from regrain.errors import SpecError
from regrain.units import parse_bytes, parse_seconds
from regrain_runtime.emulated.models import Model, model_named

SECTION = "emulated"

# What the measurements do not say. Each is a setting; docs/emulated-gpus.md says why these are the defaults.
JITTER = 0.1  # coefficient of variation of one kernel's time
INTERFERENCE = 0.15  # slower by so much beside co-runners that together fill the card
CONTEXT = 512 << 20  # bytes of a process's CUDA context and library handles
ACTIVATIONS = 64 << 20  # bytes for each item of a batch
LOAD_START = 0.5  # seconds before the first weight is copied: context, handles, building the modules
LOAD_RATE = 1e9  # bytes of weights a second, read from the page cache and copied from pageable memory

Part = Annotated[float, Meta(ge=0.0, le=1.0)]
Amount = Annotated[float, Meta(ge=0.0, le=1e6)]
Factor = Annotated[float, Meta(gt=0.0, le=1e6)]
Drift = Annotated[float, Meta(gt=-1.0, le=10.0)]
Size = int | str
Duration = float | str
_Kind = TypeVar("_Kind", bound=msgspec.Struct)
_AT = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)  # how msgspec says where


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one stage stands for.

    Attributes:
        model: name of a shipped model.
        scale: its time is multiplied by this; 2 stands for work of twice the size.
        drift: its time is off by this part for good, unseen by whoever profiled it; drawn when left out.
        pressure: how much it slows others down, against a stage of the same share whose pressure is 1.
        weights: bytes, or like "98Mi"; those of the model when left out.
        activations: bytes for each item of a batch, or like "64Mi".
        load_time: seconds, or like "1.5s"; 0.5 s and its weights at 1 GB/s when left out.
    """

    model: str
    scale: Factor = 1.0
    drift: Drift | None = None
    pressure: Amount = 1.0
    weights: Size | None = None
    activations: Size = ACTIVATIONS
    load_time: Duration | None = None

    @property
    def measured(self) -> Model:
        """Return the model that it stands for; raises SpecError when there is none of that name."""
        return model_named(self.model)

    def weight_bytes(self) -> int:
        """Return the bytes of its weights."""
        return self.measured.weights if self.weights is None else parse_bytes(self.weights, "weights")

    def activation_bytes(self) -> int:
        """Return the bytes that each item of a batch needs while it runs."""
        return parse_bytes(self.activations, "activations")

    def load_seconds(self) -> float:
        """Return the seconds that loading it takes, without jitter."""
        if self.load_time is None:
            return LOAD_START + self.weight_bytes() / LOAD_RATE
        return parse_seconds(self.load_time, "load_time")


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `emulated` of a scenario file.

    Attributes:
        gpus: as in `--gpus`, like "emulated:v100x2".
        stages: by the stage's name, what it stands for.
        seed: of jitter and drift.
        jitter: coefficient of variation of one kernel's time, lognormal with a mean of 1.
        drift: largest part by which a stage is off for good; each stage's is drawn evenly within it.
        interference: a kernel is slower by this part when co-runners of pressure 1 fill the card.
        context: bytes of one process's CUDA context, or like "512Mi".
        prices: US dollars an hour by GPU type, where they are not those of the card.
    """

    stages: dict[str, Standing] = {}
    gpus: str = "emulated:v100"
    seed: int = 0
    jitter: Part = JITTER
    drift: Part = 0.0
    interference: Amount = INTERFERENCE
    context: Size = CONTEXT
    prices: dict[str, float] = {}

    def cards(self) -> tuple[Card, ...]:
        """Return the node's GPUs at this scenario's prices."""
        return priced(parse_gpus(self.gpus), self.prices)

    def context_bytes(self) -> int:
        """Return the bytes of one process's CUDA context."""
        return parse_bytes(self.context, "context")


def read(path: Path) -> Scenario:
    """Read the section `emulated` of a scenario file, TOML or (named .json) JSON.

    Raises:
        SpecError: the file cannot be read, has no such section, or something in it is outside what is
            allowed; the message names the file, the place and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        whole = msgspec.json.decode(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise SpecError(f"{path}: not a scenario that can be read: {error}") from error
    if not isinstance(whole, dict) or SECTION not in whole:
        raise SpecError(f"{path}: a scenario with emulated GPUs needs a section [{SECTION}]")
    with _telling(str(path)):
        return parse(whole[SECTION])


def parse(section: object) -> Scenario:
    """Return the scenario that the decoded section says.

    Raises:
        SpecError: names the place, what was wrong there and what is allowed.
    """
    if not isinstance(section, dict) or not isinstance(section.get("stages", {}), dict):
        raise SpecError(f"{SECTION} and {SECTION}.stages must be tables, was {section!r}")
    stages = {}
    for stage, said in section.get("stages", {}).items():
        place = f"{SECTION}.stages.{stage}"
        stages[stage] = standing = _converted(said, Standing, place)
        with _telling(place):
            standing.weight_bytes(), standing.activation_bytes(), standing.load_seconds()
    scenario = _converted({**section, "stages": stages}, Scenario, SECTION)
    with _telling(SECTION):
        scenario.cards(), scenario.context_bytes()
    return scenario


def _converted(said: object, kind: type[_Kind], place: str) -> _Kind:
    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError as error:
        found = _AT.fullmatch(str(error))
        message, field = (found[1], found[2]) if found else (str(error), "")
        where = f"{place}.{field}" if field else place
        was = f", was {said[field]!r}" if isinstance(said, dict) and field in said else ""
        known = f"; the fields are {', '.join(kind.__struct_fields__)}" if "unknown field" in message else ""
        raise SpecError(f"{where}: {message}{was}{known}") from error


@contextlib.contextmanager
def _telling(place: str) -> Iterator[None]:
    """Put the place before whatever is found wrong with it."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"{place}: {error}") from error
