"""What is to be done so that what runs becomes what is wanted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from regrain_watchdog.gateway.plane.route import Key

Version = tuple[float, int]
"""When a function was created, and how often it has been deployed since: another one of its name is another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What the store says of a function."""

    version: Version
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Have:
    """What the front knows of a function: the version that was tried last, and how many replicas it was given.

    busy: something is being done about it; it is looked at again afterwards.
    """

    version: Version
    replicas: int
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Add:
    """Serve a function that was not there."""

    key: Key


@dataclass(frozen=True, slots=True)
class Update:
    """Put another version in the place of the one that serves, once it is ready."""

    key: Key


@dataclass(frozen=True, slots=True)
class Scale:
    """Give a function another number of replicas; from 0 it starts anew, to 0 it ends."""

    key: Key
    replicas: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Serve a function no more."""

    key: Key


Instruction = Add | Update | Scale | Remove


def instructions(wanted: Mapping[Key, Want], there: Mapping[Key, Have]) -> list[Instruction]:
    """Return what is to be done, at most one thing for each function; what is removed comes first."""
    found: list[Instruction] = [Remove(key) for key in there if key not in wanted]
    for key, want in wanted.items():
        have = there.get(key)
        if have is None:
            found.append(Add(key))
        elif have.busy:
            continue
        elif have.version != want.version:
            found.append(Update(key))
        elif have.replicas != want.replicas:
            found.append(Scale(key, want.replicas))
    return found
