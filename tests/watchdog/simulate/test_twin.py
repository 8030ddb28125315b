"""The kernel does what its plain twin does, which decides by the policies' own objects: on random plans and loads."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.simulate.engine import IN_TIME, LATE, SHED, Run
from regrain_watchdog.simulate.twin import Twin

LISTS = 2


def works(draw, scope: int, stage: int, sizes: int) -> tuple[Work, ...]:
    made = []
    for number in range(draw(st.integers(1, 2))):
        inner = scope if scope >= 0 else draw(st.sampled_from([PER_REQUEST, PER_REQUEST, 0, 1]))
        chunk = draw(st.integers(1, 4))
        base = draw(st.sampled_from([0.0003, 0.002, 0.01, 0.04]))
        rows = [[0.0] * sizes] + [
            [base * (0.5 + 0.5 * units) * (1 + size) for size in range(sizes)]
            for units in range(1, chunk + 1)
        ]
        cv = draw(st.sampled_from([0.0, 0.05, 0.5]))
        made.append(Work(10 * stage + number, inner, np.array(rows), cv))
    return tuple(made)


@st.composite
def models(draw, count: int | None = None) -> Model:
    count = count or draw(st.integers(1, 5))
    sizes = draw(st.integers(1, 3))
    groups = (
        [draw(st.integers(0, place)) for place in range(count)] if draw(st.booleans()) else list(range(count))
    )
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    stations, hop = [], draw(st.sampled_from([0.0, 0.0005, 0.005]))
    fluid = {number: draw(st.booleans()) or groups.count(group) > 1 for group, number in numbers.items()}
    for place in range(count):
        scope = draw(st.sampled_from([PER_REQUEST, PER_REQUEST, 0, 0, 1]))
        after = tuple(
            parent
            for parent in range(place)
            if (parent == place - 1 and draw(st.booleans())) or draw(st.integers(0, 3)) == 0
        )
        pool = numbers[groups[place]]
        stations.append(
            Station(
                stages=(f"stage{place}",),
                after=after,
                scope=scope,
                works=works(draw, scope, place, sizes),
                max_size=draw(st.integers(1, 6)),
                max_wait=draw(st.sampled_from([0.0, 0.0, 0.003, 0.02])),
                pool=pool,
                take=draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])) if fluid[pool] else 1.0,
                hop=hop,
            )
        )
    pools = []
    for number in numbers.values():
        servers = draw(st.integers(1, 4))
        cards = draw(st.sampled_from([(1.0,), (1.0, 0.7), (1.0, 1.0)]))
        pools.append(
            Pool(
                servers=servers,
                cards=cards if fluid[number] else (float(servers),),
                lease=draw(st.sampled_from([0.0, 0.001])) if fluid[number] else 0.0,
                passes=draw(st.booleans()) if fluid[number] else False,
            )
        )
    return Model(
        stations=tuple(stations),
        pools=tuple(pools),
        sizes=np.arange(1.0, sizes + 1.0),
        lists=LISTS,
        slo=draw(st.sampled_from([0.03, 0.1, 0.4])),
        attainment=0.95,
        answer=hop,
    )


@st.composite
def loads(draw) -> Arrivals:
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    count = draw(st.integers(1, 150))
    at = np.cumsum(rng.exponential(draw(st.sampled_from([0.002, 0.01, 0.05])), count))
    widths = rng.integers(0, draw(st.sampled_from([2, 4, 12])), (count, LISTS)).astype(np.int32)
    return Arrivals(at, rng.uniform(0.5, 3.5, count), widths, float(at[-1]) + 0.1)


def agree(run: Run, twin: Twin) -> None:
    result = run.result()
    arrived = len(result.outcome)
    assert result.events == dict(twin.events)
    np.testing.assert_array_equal(result.outcome, twin.outcome[:arrived])
    np.testing.assert_allclose(result.finish, twin.finish[:arrived], rtol=1e-9)
    assert result.busy == pytest.approx([crew.busy for crew in twin.crews], rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(models(), loads(), st.integers(0, 1 << 30), st.sampled_from([3, 1024]))
def test_the_kernel_and_its_twin_agree_event_for_event(model, load, seed, max_queue):
    run = Run(model, load, seed=seed, max_queue=max_queue)
    twin = Twin(model, load, seed=seed, max_queue=max_queue)

    run.advance(load.span / 2)
    twin.advance(load.span / 2)
    agree(run, twin)
    run.advance()
    twin.advance()

    agree(run, twin)
    assert np.isin(run.result().outcome, (IN_TIME, LATE, SHED)).all()


@st.composite
def variants(draw, model: Model) -> Model:
    """A plan that may share pools with another: other numbers of servers, batches and cards, or other works."""
    changed = tuple(
        replace(
            station,
            max_size=draw(st.integers(1, 6)),
            works=works(draw, station.scope, place, len(model.sizes))
            if draw(st.integers(0, 2)) == 0
            else station.works,
        )
        for place, station in enumerate(model.stations)
    )
    pools = []
    for pool in model.pools:
        servers = draw(st.integers(1, 5))
        is_fluid = pool.cards != (float(pool.servers),)
        cards = draw(st.sampled_from([(1.0,), (1.0, 0.7)])) if is_fluid else (float(servers),)
        pools.append(replace(pool, servers=servers, cards=cards))
    return replace(model, stations=changed, pools=tuple(pools), slo=draw(st.sampled_from([0.05, 0.3])))


@st.composite
def plans(draw) -> list[Model]:
    first = draw(models())
    further = [draw(st.one_of(variants(first), models())) for _ in range(draw(st.integers(1, 4)))]
    return [first, *further]


@settings(max_examples=150, deadline=None)
@given(plans(), loads(), st.integers(0, 1 << 30))
def test_they_agree_while_plans_change(several, load, seed):
    run, twin = Run(several[0], load, seed=seed), Twin(several[0], load, seed=seed)
    for number, model in enumerate(several[1:], start=1):
        at = load.span * number / len(several)
        run.change(model, at=at)
        twin.change(model, at=at)

    for part in (0.3, 0.6, 0.9, float("inf")):
        run.advance(load.span * part)
        twin.advance(load.span * part)
        agree(run, twin)


def test_a_step_that_took_no_time_at_first_has_been_learned_all_the_same(plan):
    nothing, something = plan(0.0, slo=0.1), plan(0.04, slo=0.1)
    at = np.arange(40) * 0.005
    load = Arrivals(at, np.zeros(40), np.zeros((40, 0), np.int32), 1.0)
    run, twin = Run(nothing, load), Twin(nothing, load)
    run.change(something, at=0.05)
    twin.change(something, at=0.05)

    run.advance()
    twin.advance()

    agree(run, twin)
