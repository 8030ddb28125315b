"""How a user writes the way in which a cluster shares GPUs. Pure."""

from __future__ import annotations

from regrain.errors import SpecError
from regrain.units import parse_bytes
from regrain_watchdog.platforms.gpu import Annotations, Hami, Mig, Profile, Replicas, Way

FORMS = '"annotations", "hami", "mps:3x141Gi" (replicas of a GPU, its memory), "mig:1g.18gb=0.125x18Gi,..."'


def parse(text: str) -> Way:
    """Return a way; SpecError tells how one is written."""
    word, _, rest = text.strip().partition(":")
    try:
        if word == "annotations" and not rest:
            return Annotations()
        if word == "hami":
            return Hami(prefix=rest) if rest else Hami()
        if word == "mps":
            count, _, memory = rest.partition("x")
            return Replicas(replicas=int(count), memory=parse_bytes(memory))
        if word == "mig":
            return Mig(profiles=tuple(_profile(each) for each in rest.split(",")))
    except ValueError as error:
        raise SpecError(f"the way to share GPUs, {text!r}, is none: {error}; there are {FORMS}") from error
    raise SpecError(f"the way to share GPUs is one of {FORMS}, was {text!r}")


def _profile(text: str) -> Profile:
    name, _, size = text.partition("=")
    share, _, memory = size.partition("x")
    if not name.strip() or not 0 < float(share) <= 1:
        raise SpecError(f"a MIG profile is NAME=SHARExMEMORY with a share in (0, 1], was {text!r}")
    return Profile(name=name.strip(), share=float(share), memory=parse_bytes(memory))
