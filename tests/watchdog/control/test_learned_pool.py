"""What a common pool bears, against what can be reckoned by hand."""

from math import inf

import numpy as np
import pytest

from regrain_watchdog.control.learned_features import NAMES
from regrain_watchdog.control.learned_pool import seconds_each
from regrain_watchdog.control.learned_reader import Reader
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work

RUN = 0.1


def station(place, *, after=None, max_size=1, scope=PER_REQUEST, take=0.0):
    rows = np.array([[0.0], *([RUN] for _ in range(max_size))])
    return Station(
        stages=(f"s{place}",), after=(place - 1,) * (place > 0) if after is None else after, scope=scope,
        works=(Work(stage=place, scope=scope, seconds=rows, cv=0.0),), max_size=max_size, max_wait=0.0, pool=0,
        take=take, hop=0.0,
    )  # fmt: skip


def each(*stations, replicas=1, cards=(1.0,), width=None, passes=False):
    """Seconds for each request."""
    lists = 0 if width is None else 1
    widths = np.full((400, lists), width or 0, np.int32)
    load = Arrivals(np.arange(1, 401) * 0.1, np.zeros(400), widths, 40.0)
    pools = (Pool(servers=replicas, cards=cards, passes=passes),)
    plan = Model(
        stations=stations, pools=pools, sizes=np.zeros(1), lists=lists, slo=1.0, attainment=0.95, answer=0.0
    )
    return Reader(load).features(plan)[NAMES.index("pool_bears")] / load.rate


def test_replicas_share_what_holds_no_share_of_a_card():
    assert each(station(0), station(1)) == pytest.approx(2 * RUN)
    assert each(station(0), station(1), replicas=4) == pytest.approx(RUN / 2, rel=0.1)


def test_no_more_run_at_once_than_fit_on_the_cards():
    rows = station(0, take=0.5), station(1, take=0.5)

    assert each(*rows, replicas=8) == pytest.approx(RUN, rel=0.05)
    assert each(*rows, replicas=8, cards=(1.0, 0.5)) == pytest.approx(2 * RUN / 3, rel=0.1)


def test_leases_of_different_sizes_leave_part_of_a_card_idle():
    rows = station(0, take=0.6), station(1, take=0.3)

    assert each(*rows, replicas=8) > 1.05 * (0.6 + 0.3) * RUN


def test_dispatches_are_full_where_requests_come_in_alone():
    many = each(station(0, max_size=4), station(1))
    behind = each(station(0), station(1, max_size=4))

    assert many == pytest.approx(RUN / 4 + RUN, rel=0.1)
    assert behind == pytest.approx(2 * RUN, rel=0.05)


def test_the_last_dispatch_of_a_list_has_what_is_left_of_it():
    listed = station(1, scope=0, max_size=4)

    assert each(station(0), listed, width=4) == pytest.approx(2 * RUN, rel=0.05)
    assert each(station(0), listed, width=5) == pytest.approx(3 * RUN, rel=0.05)


def test_branches_side_by_side_are_both_done_before_they_meet():
    rows = station(0), station(1, after=(0,)), station(2, after=(0,)), station(3, after=(1, 2))

    assert each(*rows) == pytest.approx(4 * RUN)


def test_a_list_without_items_takes_nothing():
    assert each(station(0), station(1, scope=0), station(2), width=0) == pytest.approx(2 * RUN, rel=0.05)


def test_a_pool_in_which_nothing_fits_bears_nothing():
    assert each(station(0, take=1.0), station(1), cards=(0.5,)) == inf


@pytest.mark.parametrize(("units", "seconds"), [(60, 0.6 * RUN), (1, 0.01 * RUN), (0, 0.0)])
def test_requests_that_bring_a_pool_nothing_pass_it_by(units, seconds):
    """As Python runs it, which checks the bounds of arrays."""
    brings = np.zeros((1, 100), np.int64)
    brings[0, (7 + 3 * np.arange(units)) % 100] = 1
    row, links = np.array([[0.0, 1.0, 0.0, RUN]]), np.zeros((1, 1), np.int64)

    found = seconds_each.py_func(row, links, brings, 1, (np.ones(1), False))

    assert found == pytest.approx(seconds)
