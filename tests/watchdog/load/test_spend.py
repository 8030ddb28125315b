from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from regrain.cards import CARDS, Card, card_of
from regrain.plan import GpuShare, Group, Lane, Plan
from regrain_watchdog.load.spend import Held, Meter
from regrain_watchdog.policy import cost
from regrain_watchdog.policy.cost import GIB, HOUR, Prices
from regrain_watchdog.policy.profile import Profile, StageProfile

PRICES = Prices(core=1.0, memory=2.0)
PROFILE = Profile(
    app="app",
    stages={
        "read": StageProfile(digest="", points=(), weights=GIB),
        "see": StageProfile(digest="", points=(), weights=GIB, on_gpu=True),
    },
    context=GIB,
    resident=GIB,
)


def held(*stages: str, replicas: int = 1, gpu: float = 0.0, memory: int = 0) -> Held:
    return Held(stages=stages, max_size=1, replicas=replicas, cpu=2.0, gpu=gpu, memory=memory)


def test_what_is_seen_costs_what_the_same_plan_does() -> None:
    meter = Meter(PRICES, CARDS["v100"], PROFILE)
    plan = Plan(
        (
            Group(stages=("read",), replicas=3, cpu=2.0),
            Group(stages=("see",), cpu=2.0, gpu=GpuShare(fraction=0.5)),
        )
    )

    meter.take(0.3, "read | see", [held("read", replicas=3), held("see", gpu=0.5)])

    assert meter.spending is not None
    assert meter.spending.at == [0.0]
    assert meter.spending.rate == [pytest.approx(cost.rate(plan, PROFILE, PRICES, CARDS["v100"]))]


def test_without_a_profile_memory_is_what_replicas_hold() -> None:
    meter = Meter(PRICES, None, None)

    meter.take(0.0, "read", [held("read", replicas=2, memory=3 * GIB)])

    assert meter.spending is not None
    assert meter.spending.rate == [pytest.approx((2 * 2.0 * 1.0 + 3 * 2.0) / HOUR)]


def test_replicas_of_a_fluid_group_have_their_share_together() -> None:
    profile = structs.replace(
        PROFILE, context=1, stages={"see": structs.replace(PROFILE.stages["see"], weights=1)}
    )
    meter = Meter(Prices(core=0.0, memory=0.0), CARDS["v100"], profile)
    lanes = (Lane(stage="see", fraction=0.2),)

    meter.take(0.0, "~see", [replace(held("see", replicas=3, gpu=0.5), lanes=lanes)])

    assert meter.spending is not None
    assert meter.spending.rate == [pytest.approx(0.5 * CARDS["v100"].price / HOUR)]


def test_stages_that_were_profiled_on_the_cpu_cost_no_gpu_where_none_is_told_of() -> None:
    meter = Meter(PRICES, None, PROFILE)

    meter.take(0.0, "read", [held("read", gpu=1.0)])

    assert meter.spending is not None
    assert meter.spending.rate == [
        pytest.approx(cost.rate(Plan((Group(stages=("read",), cpu=2.0),)), PROFILE, PRICES, None))
    ]


def test_a_price_that_a_scenario_says_counts_for_a_card_of_no_known_type() -> None:
    card = card_of("NVIDIA Unheard-of", sms=80, memory=16 * GIB)
    meter = Meter(Prices(core=0.0, memory=0.0, gpu=2.0), card, None)

    meter.take(0.0, "see", [held("see", gpu=0.5)])

    assert meter.spending is not None
    assert meter.spending.rate == [pytest.approx(1.0 / HOUR)]


def test_each_grain_that_is_seen_is_kept_with_its_time() -> None:
    meter = Meter(PRICES, None, None)

    for at, grain in ((0.0, "a+b"), (1.0, "a+b"), (2.0, "a | b"), (3.0, "a+b")):
        meter.take(at, grain, [])

    assert meter.grains == [(0.0, "a+b"), (2.0, "a | b"), (3.0, "a+b")]


@pytest.mark.parametrize(
    ("card", "profile", "group", "said"),
    [
        (None, None, held("see", gpu=0.5), "price of its GPUs is not known"),
        (
            card_of("NVIDIA Unheard-of", sms=80, memory=GIB),
            None,
            held("see", gpu=0.5),
            "price of its GPUs (NVIDIA Unheard-of) is not known: say it in a scenario, as gpu under [prices]",
        ),
        (None, PROFILE, held("see", gpu=0.5), "price of its GPUs is not known"),
        (None, PROFILE, held("other"), "the profile lacks stage other"),
    ],
)
def test_what_cannot_be_priced_is_said(
    card: Card | None, profile: Profile | None, group: Held, said: str
) -> None:
    meter = Meter(PRICES, card, profile)
    assert "no running app told" in meter.lacking

    meter.take(0.0, "grain", [group])

    assert said in meter.lacking
    assert meter.spending is None


@pytest.mark.parametrize(
    "empty",
    [
        pytest.param(held("new", replicas=0), id="a stage that was not profiled"),
        pytest.param(held("see", replicas=0, gpu=0.5), id="a GPU of no known price"),
    ],
)
def test_a_group_without_replicas_costs_nothing_whatever_is_not_known_of_it(empty: Held) -> None:
    meter = Meter(PRICES, None, PROFILE)

    meter.take(0.0, "read", [held("read", replicas=2)])
    meter.take(1.0, "read", [held("read", replicas=2), empty])

    assert not meter.lacking
    assert meter.spending is not None
    assert meter.spending.rate[0] == meter.spending.rate[1] > 0
