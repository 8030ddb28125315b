"""What an app's stages cost, as `regrain profile` measured it: service times, load times, memory, hops.

Kept per stage under the digest of its code, so that an edit of one stage forgets what is known of that stage alone.
Predictors know nothing else of an app's costs. Nothing is read beyond what was measured: `OutOfRangeError` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from regrain.errors import RegrainError

VERSION = 1
Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]


class OutOfRangeError(RegrainError):
    """A service time is asked for beyond what was measured."""


class ProfileError(RegrainError):
    """A profile is none, or is not of this app."""


class Point(Struct, frozen=True, array_like=True):
    """One measured setting of a stage.

    Attributes:
        batch: units in one call of it.
        size: of the requests that they came from, in the app's measure (bytes of the body); 0 where it makes no odds.
        share: fraction of a GPU's SMs; of a stage that needs no GPU the cores that it had.
        seconds: mean time of a call.
        cv: standard deviation of that over its mean.
        count: calls that were timed; 0 of a point that nobody measured, but that follows from others by a cautious rule
            (policy/refine.py).
    """

    batch: Annotated[int, Meta(ge=1)]
    size: Amount
    share: Annotated[float, Meta(gt=0)]
    seconds: Amount
    cv: Amount = 0.0
    count: Count = 1


class StageProfile(Struct, frozen=True, kw_only=True):
    """What one stage costs.

    Attributes:
        digest: of the stage's code (regrain.manifest.StageSpec).
        on_gpu: whether `share` in its points is of a GPU.
        points: in order of share, size and batch.
        load: seconds until its model is loaded, in a replica that has started.
        weights: bytes of its model, on the GPU where it needs one.
        activation: bytes that each unit of a batch takes beside.
        out_bytes: bytes of one unit's result.
    """

    digest: str
    on_gpu: bool = False
    points: tuple[Point, ...]
    load: Amount = 0.0
    weights: Count = 0
    activation: Count = 0
    out_bytes: Amount = 0.0


class Hop(Struct, frozen=True):
    """What it takes to hand a unit to another group: seconds, and seconds for each byte."""

    seconds: Amount
    per_byte: Amount = 0.0


class Profile(Struct, frozen=True, kw_only=True):
    """What an app's stages cost on one kind of machine.

    Attributes:
        app: its name.
        device: the GPU type ("v100"), or "" without one.
        stages: by name.
        hop: between groups on one node. remote: to another node's.
        context: bytes that a process holds on a GPU before any model is loaded.
        resident: bytes of memory of a replica before any model is loaded.
        start: seconds until a new replica can load.
        lease: seconds that taking a lease of another size costs, inside of it.
        fused: seconds that the whole flow in one group takes beyond what its stages take one by one; None where that
            was not measured.
    """

    app: str
    device: str = ""
    stages: dict[str, StageProfile]
    hop: Hop = Hop(0.0002)
    remote: Hop = Hop(0.001)
    context: Count = 0
    resident: Count = 0
    start: Amount = 0.05
    lease: Amount = 0.0002
    fused: float | None = None
    version: int = VERSION

    def check(self, digests: Mapping[str, str]) -> None:
        """Raise ProfileError where it lacks stages of an app or knows another version of them.

        Args:
            digests: the app's stages, by name.
        """
        missing = [name for name in digests if name not in self.stages]
        stale = [
            name
            for name, digest in digests.items()
            if name in self.stages and self.stages[name].digest != digest
        ]
        if missing or stale:
            parts = [f"lacks {', '.join(missing)}"] * bool(missing)
            parts += [f"knows other code of {', '.join(stale)}"] * bool(stale)
            raise ProfileError(
                f"the profile of {self.app} {' and '.join(parts)}; run `regrain profile` again, it measures those alone"
            )


def dumps(profile: Profile) -> bytes:
    """Return a profile as JSON, one stage after the other."""
    return msgspec.json.format(msgspec.json.encode(profile), indent=1)


def loads(data: bytes) -> Profile:
    """Read a profile; ProfileError says what is wrong in it."""
    try:
        profile = msgspec.json.decode(data, type=Profile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProfileError(f"this is no profile: {error}") from error
    if profile.version != VERSION:
        raise ProfileError(f"the profile has version {profile.version}; this Regrain reads version {VERSION}")
    bare = [name for name, stage in profile.stages.items() if not stage.points]
    if bare:
        raise ProfileError(f"the profile has no points of {', '.join(bare)}; run `regrain profile` again")
    return profile
