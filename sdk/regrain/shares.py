"""The notation of what groups are entitled to of the GPUs that they run on, as `--gpu-shares` takes it.

    0.5                                        every group: half of a GPU's SMs
    detect=0.25 floor=0.1 weight=3, recognise=0.5 ceiling=0.6 priority=1
    detect weight=3                            on as many SMs as its stages hint

The first word of an entry is a group's or a stage's name with the fraction of the SMs that it runs on; any of the other
words may follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from regrain.errors import SpecError
from regrain.wire.lease import LEAST

Said = Mapping[str, float]
"""What is said of one group, by the fields of regrain.plan.GpuShare."""

FRACTION = "fraction"
_HIGHEST = 1 / LEAST
_WORDS: Mapping[str, tuple[float, float, str]] = {
    FRACTION: (1e-9, 1.0, "above 0 and up to 1"),
    "weight": (LEAST, _HIGHEST, f"from {LEAST:g} to {_HIGHEST:g}"),
    "floor": (0.0, 1.0, "from 0 to 1"),
    "ceiling": (LEAST, 1.0, f"from {LEAST:g} to 1"),
    "priority": (-100, 100, "a whole number from -100 to 100"),
}
_DECIMALS = 9
"""Decimals that a number has at most."""
_NUMBER = re.compile(rf"-?(\d{{1,4}}(\.\d{{1,{_DECIMALS}}})?|\.\d{{1,{_DECIMALS}}})", re.ASCII)
_JOINT = re.compile(r"\s*([=+])\s*")
EXAMPLE = '"0.5" for every group, or "detect=0.25 floor=0.1 weight=3, recognise=0.5" by stage or group'


def _sum(numbers: Iterable[float]) -> float:
    """Add up as in decimals: in binary fractions 0.33, 0.56 and 0.11 are more than 1."""
    return round(sum(numbers), _DECIMALS)


_TOGETHER: Mapping[str, Callable[[Iterable[float]], float]] = {
    FRACTION: max,
    "weight": _sum,
    "floor": _sum,
    "ceiling": lambda ceilings: min(1.0, _sum(ceilings)),
    "priority": min,
}


def parse(text: str) -> list[tuple[str, Said]]:
    """Return what is said of which group or stage; the name "" stands for every group.

    Raises:
        SpecError: it is written otherwise, or a number is outside of what is allowed for its word.
    """
    entries = [_JOINT.sub(r"\1", entry).split() for entry in text.split(",") if entry.strip()]
    found: list[tuple[str, Said]] = []
    for first, *words in entries:
        for_all = len(entries) == 1 and _NUMBER.fullmatch(first) is not None
        name, has_fraction, fraction = ("", "=", first) if for_all else first.partition("=")
        said = {FRACTION: _read(FRACTION, fraction, text)} if has_fraction else {}
        for word, _, number in (each.partition("=") for each in words):
            if word in said or word == FRACTION or word not in _WORDS:
                others = ", ".join(other for other in _WORDS if other != FRACTION)
                raise SpecError(
                    f"shares {text!r}: {word!r} may not follow {first!r}; {others} may, once each"
                )
            said[word] = _read(word, number, text)
        if not said or not (name or for_all):
            raise SpecError(f"shares {text!r}: nothing is said of {name!r}; allowed is {EXAMPLE}")
        found.append((name, said))
    return found


def together(said: Sequence[Said], name: str) -> Said:
    """Return what a group is entitled to of whose stages this is said.

    They run one after the other, so it runs on the SMs of the hungriest and is as urgent as the most urgent; it does
    the work of all, so weights, floors and ceilings (up to 1) add up.

    Raises:
        SpecError: floors or weights add up to more than is allowed, or floors to more than the ceilings.
    """
    found = {
        word: join([each[word] for each in said if word in each])
        for word, join in _TOGETHER.items()
        if any(word in each for each in said)
    }
    for word, value in found.items():
        if not _fits(word, value):
            raise SpecError(f"shares: the {word} of {name} must be {_WORDS[word][2]}, is {value:g} together")
    floor, ceiling = found.get("floor", 0.0), found.get("ceiling", 1.0)
    if floor > ceiling:
        raise SpecError(f"shares: the floor of {name} is {floor:g}, above its ceiling of {ceiling:g}")
    return found


def _read(word: str, number: str, text: str) -> float:
    value = float(number) if _NUMBER.fullmatch(number) else None
    if value is None or not _fits(word, value):
        raise SpecError(
            f"shares {text!r}: a {word} must be {_WORDS[word][2]}, was {number!r}; allowed is {EXAMPLE}"
        )
    return int(value) if word == "priority" else value


def _fits(word: str, value: float) -> bool:
    lowest, highest, _ = _WORDS[word]
    return lowest <= value <= highest and (word != "priority" or value == int(value))
