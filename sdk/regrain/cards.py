"""The types of GPU that can be emulated, and the words in which a machine full of them is asked for.

Everything here may be known by anybody: it stands on a data sheet or a price list. How fast a card is stands
with the truth, since on a real node that has to be measured as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from regrain.errors import SpecError
from regrain.units import is_number

GIB = 1 << 30
MOST = 64  # GPUs of one emulated node; the largest machines that one can rent hold 16
PREFIX = "emulated:"
LEAST_SHARE = 0.05  # of a card's SMs: the smallest that models were measured on
CLOSE = 1e-6  # of an SM: what a share may lack for a whole one in floating point
_ITEM = re.compile(r"([a-z]+\d+)(?:x(\d{1,6}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One type of GPU.

    Attributes:
        name: as it is written in `--gpus`.
        sms: streaming multiprocessors; a share is a part of them.
        memory: bytes on the card.
        price: US dollars for an hour of one whole card.
        part: of a whole card, for a slice of one; SMs and memory are then the slice's.
    """

    name: str
    sms: int
    memory: int
    price: float
    part: float = 1.0

    @property
    def least(self) -> float:
        """Of a whole card, what a replica reserves at least: all of a slice, which no other may have."""
        return self.part if self.part < 1.0 else 0.0

    def share(self, sms: int) -> float:
        """Return the share that so many multiprocessors are.

        Raises:
            SpecError: the card has not so many.
        """
        if not 1 <= sms <= self.sms:
            raise SpecError(f"a {self.name} has 1 to {self.sms} SMs to give, asked for {sms}")
        return sms / self.sms

    def check_lease(self, function: str, fraction: float) -> None:
        """Refuse (SpecError) leases of fewer SMs than emulated models were measured on."""
        sms = int(fraction * self.sms + CLOSE)
        if sms < LEAST_SHARE * self.sms - CLOSE:
            least = math.ceil(1000 * math.ceil(LEAST_SHARE * self.sms - CLOSE) / self.sms) / 1000
            raise SpecError(
                f"{function} is to run on {fraction:g} of a GPU, which is {sms} of the {self.sms} SMs of an "
                f"emulated {self.name}; models were measured on {LEAST_SHARE:.0%} and more: ask for {least:g} at least"
            )


# SMs and memory: NVIDIA's data sheets (V100 16 GB, A10, A100 40 GB SXM4, H200 SXM).
# Prices: AWS in US East, a card's part of the instance: on demand p3.2xlarge, g5.xlarge (an A10G, the A10's
# sibling), p4d.24xlarge after the cut of June 2025 (an eighth), and for the H200 the capacity-block rate per
# accelerator of late 2024. They are defaults: a scenario sets its own.
CARDS: Mapping[str, Card] = {
    card.name: card
    for card in (
        Card(name="v100", sms=80, memory=16 * GIB, price=3.06),
        Card(name="a10", sms=72, memory=24 * GIB, price=1.006),
        Card(name="a100", sms=108, memory=40 * GIB, price=2.745),
        Card(name="h200", sms=132, memory=140 * GIB, price=5.408),
    )
}


def card_of(name: str, *, sms: int, memory: int, part: float = 1.0) -> Card:
    """Return a GPU with its price: that of the type that its name has as a word ("NVIDIA H200"), 0 where there is none.

    A letter more is a sibling of the type ("A10G"), a digit more is another one ("RTX A1000").
    """
    words = re.findall(r"[a-z]+\d+(?=[a-z]?\b)", name.lower())
    price = next((card.price for kind, card in CARDS.items() if kind in words), 0.0)
    return Card(name=name, sms=sms, memory=memory, price=price, part=part)


def parse_gpus(text: str) -> tuple[Card, ...]:
    """Return the cards of an emulated node: "emulated:v100x2" is two of them, "emulated:v100x2,a10" three.

    Raises:
        SpecError: it is written otherwise, a type is unknown, a count is 0, or they are more than 64.
    """
    shape = f'must be like "{PREFIX}v100x2" or "{PREFIX}v100x2,a10", of the types {", ".join(CARDS)}'
    if not text.startswith(PREFIX):
        raise SpecError(f"gpus {shape}, was {text!r}")
    cards: list[Card] = []
    for item in text.removeprefix(PREFIX).split(","):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            raise SpecError(f"gpus {shape}, was {text!r}")
        name, count = match[1], int(match[2] or 1)
        if name not in CARDS:
            raise SpecError(f"there is no GPU type {name!r} in {text!r}, the types are {', '.join(CARDS)}")
        if not 1 <= count <= MOST - len(cards):
            raise SpecError(
                f"a node has 1 to {MOST} GPUs and at least 1 of a type that is named, was {text!r}"
            )
        cards += [CARDS[name]] * count
    return tuple(cards)


def priced(cards: tuple[Card, ...], prices: Mapping[str, float]) -> tuple[Card, ...]:
    """Return the cards at other prices, given by type in US dollars an hour; types not named keep theirs.

    Raises:
        SpecError: a type is unknown, or a price is not a number of at least 0.
    """
    for name, price in prices.items():
        if name not in CARDS:
            raise SpecError(f"prices: there is no GPU type {name!r}, the types are {', '.join(CARDS)}")
        if not is_number(price) or price < 0:
            raise SpecError(f"prices: {name} must cost at least 0 dollars an hour, was {price!r}")
    return tuple(replace(card, price=prices.get(card.name, card.price)) for card in cards)
