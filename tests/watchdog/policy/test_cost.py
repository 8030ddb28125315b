"""What plans reserve of GPUs: shares or memory of whole ones, and all of a slice."""

from dataclasses import replace

import pytest

from regrain.cards import CARDS, card_of
from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.policy.cost import GIB, HOUR, Prices, rate, reserved
from regrain_watchdog.policy.profile import Profile, StageProfile

CARD = replace(CARDS["v100"], memory=8 * GIB)
SEVENTH = replace(CARD, memory=GIB, part=1 / 7)
PROFILE = Profile(
    app="",
    stages={"see": StageProfile(digest="", points=(), weights=GIB // 4, on_gpu=True)},
    context=GIB // 4,
)
POOL = Group(
    stages=("see",),
    replicas=3,
    gpu=GpuShare(),
    fluid=Fluid(share=0.5, lanes=(Lane(stage="see", fraction=0.25),)),
)


def see(fraction, *, replicas=2):
    return Group(stages=("see",), replicas=replicas, cpu=0.0, gpu=GpuShare(fraction=fraction))


@pytest.mark.parametrize(
    ("card", "group", "told"),
    [
        pytest.param(CARD, see(0.25), 2 * 0.25, id="shares"),
        pytest.param(CARD, see(0.01), 2 / 16, id="memory"),
        pytest.param(CARD, POOL, 0.5, id="a pool"),
        pytest.param(SEVENTH, see(0.1), 2 / 7, id="a slice is had whole"),
        pytest.param(SEVENTH, see(2 / 7), 4 / 7, id="a larger slice"),
        pytest.param(SEVENTH, POOL, 0.5, id="a pool on slices"),
    ],
)
def test_what_replicas_reserve_is_told_in_whole_gpus(card, group, told):
    assert reserved(group, PROFILE, card) == pytest.approx(told)


@pytest.mark.parametrize("price", [0.0, 7.0], ids=["of its type", "that is given"])
def test_a_slice_costs_its_part_of_the_price_of_a_whole_gpu(price):
    whole = card_of("NVIDIA A100-SXM4-40GB", sms=98, memory=40 * GIB)
    slice_ = card_of("NVIDIA A100-SXM4-40GB MIG 1g.5gb", sms=14, memory=5 * GIB, part=1 / 7)
    free = Prices(core=0.0, memory=0.0, gpu=price)

    found = rate(Plan((see(0.1, replicas=3),)), PROFILE, free, slice_)

    assert slice_.price == whole.price == CARDS["a100"].price
    assert found == pytest.approx(3 / 7 * (price or whole.price) / HOUR)
