"""A function as it is to be deployed, and how it does there: the same values for every platform."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from regrain.errors import SpecError
from regrain_watchdog.platforms.gpu import Need

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SECRET = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MOST = 1000
"""Replicas that a function may have."""
MOST_CORES = 4096
"""Cores that a replica of it may ask for."""

State = Literal["zero", "starting", "ready", "failed", "draining"]
Protocol = Literal["http", "grpc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function; SpecError names what is wrong with it.

    Attributes:
        image: registry/name:tag.
        secrets: names of secrets that are on the platform already; read as files in /var/openfaas/secrets.
        cpu: cores that a replica asks for, 0 for none. memory: bytes, 0 for none.
        gpu: what a replica needs of a GPU.
        nodes: labels of the nodes that it may run on.
        least: replicas; with 0 it may go when nobody calls it. most: replicas, 0 for as the platform has it.
        target: requests in flight in a replica that the autoscaler aims at, 0 for as the platform has it.
        concurrency: requests in flight that a replica is sent, 0 for all: it has a queue of its own.
        protocol: by which it is called, where the platform carries one alone.
        remote_key: the secret, one of `secrets`, by which replicas run groups for each other; "" where they do not.
    """

    name: str
    image: str
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    cpu: float = 0.0
    memory: int = 0
    gpu: Need | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)
    least: int = 1
    most: int = 0
    target: int = 0
    concurrency: int = 0
    protocol: Protocol = "http"
    remote_key: str = ""

    def __post_init__(self) -> None:
        label("name", self.name)
        if not self.image or not self.image.isprintable() or " " in self.image:
            raise SpecError(f"image: a name such as registry/name:tag, was {self.image!r}")
        _all("environment", self.environment, VARIABLE, "letters, digits and _, no digit first")
        _all("secret", self.secrets, SECRET, "a DNS name")
        replicas(self.least)
        replicas(self.most)
        if 0 < self.most < self.least:
            raise SpecError(f"the most replicas are {self.most}, fewer than the least, {self.least}")
        for what, number in (("target", self.target), ("concurrency", self.concurrency)):
            if number < 0:
                raise SpecError(f"{what}: 0 or more requests in flight, was {number}")
        if not 0 <= self.cpu <= MOST_CORES:
            raise SpecError(f"cpu: 0 to {MOST_CORES} cores, was {self.cpu:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a function does.

    replicas: how many are wanted. available: how many of them serve. url: where it is called.
    detail: why it is not ready, in a sentence.
    """

    name: str
    namespace: str
    state: State
    image: str = ""
    replicas: int = 0
    available: int = 0
    url: str = ""
    detail: str = ""


def label(what: str, name: str) -> str:
    """Return a name of a function or a namespace; SpecError if it can be none."""
    if not LABEL.fullmatch(name):
        raise SpecError(
            f"{what}: up to 63 of a-z, 0-9 and hyphens, with a letter or digit at both ends; was {name!r}"
        )
    return name


def replicas(number: int) -> int:
    """Return a number of replicas; SpecError if it can be none."""
    if not 0 <= number <= MOST:
        raise SpecError(f"replicas: 0 to {MOST}, was {number}")
    return number


def _all(what: str, names: Iterable[str], pattern: re.Pattern[str], allowed: str) -> None:
    for name in names:
        if not pattern.fullmatch(name):
            raise SpecError(f"{what}: {allowed}, was {name!r}")
