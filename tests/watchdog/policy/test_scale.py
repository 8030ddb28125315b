"""Replicas follow labels and load: bounded, steady, and none while nobody asks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.policy.scale import MOST, Scaler, Scaling, Seen

PERIOD = 5.0
"""Seconds between two looks."""
loads = st.floats(0, 1e6)
scalings = st.builds(
    lambda least, more, **others: Scaling(least=least, most=least + more, **others),
    st.integers(1, 30),
    st.integers(0, 30),
    factor=st.integers(0, 100),
    kind=st.sampled_from(["rps", "capacity"]),
    target=st.floats(0.1, 1000),
    proportion=st.floats(0.1, 1),
    window=st.floats(0, 300),
)


def labels(**values: str) -> dict[str, str]:
    return {f"com.openfaas.scale.{name.replace('_', '-')}": text for name, text in values.items()}


def seen(**values: float) -> Seen:
    return Seen(**{"rate": 0.0, "in_flight": 0, "cpu": 0.0, "ready": 1, "replicas": 1, "idle": 0.0, **values})


def course(scaling: Scaling, moments: list[Seen], replicas: int = 1) -> list[int]:
    """Return what a scaler decides, whose decisions are carried out before its next look."""
    scaler, found = Scaler(scaling), []
    for number, moment in enumerate(moments):
        replicas = scaler.decide(replace(moment, replicas=replicas, ready=replicas), number * PERIOD)
        found.append(replicas)
    return found


def asked(load: float) -> Seen:
    return seen(rate=load, in_flight=math.ceil(load))


def test_labels_are_read() -> None:
    assert Scaling.of({}) == Scaling(least=1, most=20, factor=20, kind="rps", rest=math.inf)
    assert Scaling.of(labels(min="2", max=" 5 ", factor="50")) == Scaling(least=2, most=5, factor=50)
    assert Scaling.of(labels(min="40")) == Scaling(least=40, most=40)
    assert Scaling.of(labels(min="0")).least == 1
    assert Scaling.of(labels(type="cpu", target="500", target_proportion=".5")) == Scaling(
        kind="cpu", target=500.0, proportion=0.5
    )
    assert Scaling.of(labels(type="capacity")).target == 50.0
    assert Scaling.of(labels(zero="True")).rest == 900.0
    assert Scaling.of(labels(zero="true", zero_duration="1m30s")).rest == 90.0
    assert Scaling.of(labels(zero_duration="1m")).rest == math.inf
    assert Scaling.of({"com.openfaas.scale.down.window": "2m"}).window == 120.0
    assert Scaling.of(labels(type="capacity"), adapts=True).kind is None


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"min": "-1"}, "a whole number from 0 to 1000"),
        ({"min": "one"}, "a whole number from 0 to 1000"),
        ({"min": "²"}, "a whole number"),
        ({"min": str(MOST + 1)}, "a whole number"),
        ({"max": "0"}, "a whole number from 1 to 1000"),
        ({"min": "3", "max": "2"}, "a whole number from 3 to 1000"),
        ({"factor": "101"}, "a whole number from 0 to 100"),
        ({"max": "9" * 5000}, "a whole number"),
        ({"min": "0000000005000"}, "a whole number from 0 to 1000, was '0000000005000'"),
        ({"factor": "0" * 5000}, f"a whole number from 0 to 100, was {'0' * 40!r}"),
        ({"target": "0"}, "a number from 0.001 on, was '0'"),
        ({"target": "1e-200"}, "a number from 0.001 on"),
        ({"target": "nan"}, "a number from 0.001 on"),
        ({"target": "inf"}, "a number from 0.001 on"),
        ({"target-proportion": "1e-200"}, "a number from 0.001 to 1, was '1e-200'"),
        ({"target-proportion": "1.1"}, "a number from 0.001 to 1"),
        ({"type": "queue"}, "one of rps, capacity, cpu, was 'queue'"),
        ({"zero": "yes"}, "true or false"),
        ({"zero-duration": "0s"}, 'a duration such as "15m" from 1 s on'),
        ({"down.window": "6m"}, 'a duration such as "15m" from 0 s to 300 s'),
    ],
)
def test_a_label_that_is_no_such_value_is_named(values: dict[str, str], allowed: str) -> None:
    with pytest.raises(SpecError) as caught:
        Scaling.of({f"com.openfaas.scale.{name}": text for name, text in values.items()})

    assert str(caught.value).startswith(f"labels.com.openfaas.scale.{list(values)[-1]}: {allowed}")


def test_a_duration_that_is_none_is_named() -> None:
    with pytest.raises(SpecError, match=r"^labels\.com\.openfaas\.scale\.zero-duration must be seconds or"):
        Scaling.of(labels(zero_duration="soon"))


@pytest.mark.parametrize(
    ("kind", "load", "replicas"),
    [("rps", {"rate": 91.0}, 3), ("capacity", {"in_flight": 90}, 2), ("cpu", {"cpu": 135.1}, 4)],
)
def test_load_is_shared_by_as_many_as_the_formula_says(kind, load, replicas) -> None:
    scaling = Scaling(kind=kind, target=50.0, proportion=0.9)

    assert scaling.desired(seen(**load)) == replicas


def test_the_least_targets_have_all_replicas_at_the_first_request() -> None:
    scaling = Scaling.of(labels(target="0.001", target_proportion="0.001"))

    assert scaling.desired(seen(rate=0.1)) == scaling.most
    assert scaling.desired(seen()) == 0


def test_what_starting_costs_wants_no_more_replicas() -> None:
    scaling = Scaling(kind="cpu", target=100.0)

    assert scaling.desired(seen(cpu=2000.0, ready=1, replicas=3)) == 3
    assert scaling.desired(seen(cpu=2000.0, ready=3, replicas=3)) == 20


def test_ten_requests_a_second_have_two_replicas_at_once_and_one_again_within_a_minute_of_their_end() -> None:
    scaling = Scaling.of(labels(min="1", max="2"))
    rate_window = 10.0
    after = int((60.0 - rate_window) / PERIOD)

    found = course(scaling, [asked(10.0)] * 12 + [asked(0.0)] * after)

    assert found[:12] == [2] * 12
    assert found[-1] == 1


@given(scalings, st.lists(loads, min_size=1, max_size=40), st.integers(1, MOST))
def test_the_number_is_within_bounds(scaling: Scaling, course_of_load: list[float], before: int) -> None:
    found = course(scaling, [asked(load) for load in course_of_load], before)

    for replicas in found:
        assert scaling.least <= replicas <= scaling.most or (
            scaling.least == scaling.most and replicas == before
        )


@given(scalings, loads, st.integers(1, MOST), st.integers(1, 80))
def test_constant_load_never_has_more_replicas_again(
    scaling: Scaling, load: float, before: int, looks: int
) -> None:
    found = course(scaling, [asked(load)] * looks, before)

    assert found == sorted(found, reverse=True)
    assert len(set(found)) <= 2


@given(
    scalings,
    st.lists(st.tuples(loads, loads).map(sorted), min_size=1, max_size=40),
    st.integers(1, MOST),
)
def test_more_load_never_has_fewer_replicas(scaling: Scaling, pairs: list[list[float]], before: int) -> None:
    fewer = course(scaling, [asked(less) for less, _ in pairs], before)
    more = course(scaling, [asked(load) for _, load in pairs], before)

    assert all(one <= other for one, other in zip(fewer, more, strict=True))


@given(scalings, st.lists(loads, min_size=1, max_size=40))
def test_what_a_window_wanted_stays(scaling: Scaling, course_of_load: list[float]) -> None:
    found = course(scaling, [asked(load) for load in course_of_load])

    for number, replicas in enumerate(found):
        begin = number * PERIOD - scaling.window
        within = [
            scaling.desired(asked(load))
            for at, load in enumerate(course_of_load[: number + 1])
            if at * PERIOD >= begin
        ]
        assert replicas >= scaling.within(max(within)) or scaling.least == scaling.most


def test_equal_bounds_leave_the_number_to_whoever_sets_it() -> None:
    fixed = Scaling.of(labels(min="2", max="2"))

    assert course(fixed, [asked(1000.0), asked(0.0)] * 20, 2) == [2] * 40
    assert course(fixed, [asked(1000.0)], 5) == [5]


def test_what_adapts_by_itself_is_only_kept_within_bounds() -> None:
    scaling = Scaling.of(labels(min="2", max="4"), adapts=True)

    assert [Scaler(scaling).decide(seen(rate=1000.0, replicas=number), 0.0) for number in range(1, 7)] == [
        2, 2, 3, 4, 4, 4,
    ]  # fmt: skip


def test_a_number_set_by_hand_lasts_a_window_and_forgets_what_was_wanted_before() -> None:
    scaler = Scaler(Scaling(window=30.0))

    assert scaler.decide(seen(rate=40.0), 0.0) == 9
    assert scaler.decide(seen(replicas=2), 5.0) == 2
    assert scaler.decide(seen(replicas=6), 10.0) == 6
    assert scaler.decide(seen(replicas=6), 40.0) == 6
    assert scaler.decide(seen(replicas=6), 41.0) == 1


def test_nobody_asks_and_there_are_none() -> None:
    scaler = Scaler(Scaling.of(labels(min="2", zero="true", zero_duration="1m")))

    assert scaler.decide(seen(replicas=2, idle=59.9), 0.0) == 2
    assert scaler.decide(seen(replicas=2, idle=61.0, in_flight=1), 5.0) == 2
    assert scaler.decide(seen(replicas=2, idle=60.0), 10.0) == 0
    assert scaler.decide(seen(replicas=0, idle=65.0), 15.0) == 0
    assert scaler.decide(seen(replicas=0, idle=65.0, in_flight=1), 20.0) == 2


def test_zero_set_by_hand_lasts_until_somebody_asks() -> None:
    scaler = Scaler(Scaling())

    assert scaler.decide(seen(replicas=0), 0.0) == 0
    assert scaler.decide(seen(replicas=0, in_flight=1), 5.0) == 1


@given(scalings, st.integers(0, MOST))
def test_an_alert_adds_a_step_and_its_end_takes_all_back(scaling: Scaling, replicas: int) -> None:
    more = scaling.alerted(replicas, firing=True)

    assert replicas <= more <= max(replicas, scaling.most)
    assert more > replicas or scaling.factor == 0 or replicas >= scaling.most
    assert scaling.alerted(more, firing=False) == scaling.least
