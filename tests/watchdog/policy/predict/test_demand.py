import numpy as np
import pytest

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Pool, Station, Work
from regrain_watchdog.policy.predict.demand import demand, key, pooled, streamed
from regrain_watchdog.policy.predict.traffic import traffic


def station(*works, scope=PER_REQUEST, max_size=1, take=1.0):
    return Station(
        stages=("s",),
        after=(),
        scope=scope,
        works=works,
        max_size=max_size,
        max_wait=0.0,
        pool=0,
        take=take,
        hop=0.0,
    )


def work(seconds, scope=PER_REQUEST, columns=(1.0,)):
    return Work(stage=0, scope=scope, seconds=np.outer([0.0, *seconds], columns), cv=0.1)


def requests(widths, sizes=None):
    count = len(widths)
    size = np.zeros(count) if sizes is None else np.asarray(sizes, dtype=np.float64)
    return traffic(
        Arrivals(
            np.arange(count) + 0.5, size, np.array(widths, dtype=np.int32).reshape(count, -1), float(count)
        )
    )


def asked(one, load, servers=2, sizes=(0.0,)):
    return demand(one, Pool(servers=servers, cards=(float(servers),)), np.array(sizes), load)


def test_items_of_a_list_are_units_of_a_station_that_takes_items():
    found = asked(station(work([0.01], scope=0), scope=0), requests([1, 3]))

    assert found.units == 2.0
    assert found.bunch == 2.5
    assert found.widths.tolist() == [1.0, 3.0]


def test_a_list_inside_of_a_request_takes_as_many_calls_as_it_has_chunks():
    found = asked(station(work([0.01, 0.015], scope=0)), requests([5, 5]))

    assert found.units == 1.0
    assert found.seconds[1] == pytest.approx(2 * 0.015 + 0.01)


def test_larger_requests_take_longer_and_scatter_what_a_dispatch_takes():
    one = station(work([0.01], columns=(1.0, 3.0)))

    found = asked(one, requests([[]] * 4, sizes=[0.0, 0.0, 1.0, 1.0]), sizes=(0.0, 1.0))

    assert found.seconds[1] == pytest.approx(0.02)
    assert found.own.min() == pytest.approx(-0.01)
    assert found.own.max() == pytest.approx(0.01)
    assert found.scatter == pytest.approx(0.25)


def test_batches_are_as_large_as_it_takes_to_keep_up():
    found = asked(station(work([0.01, 0.011, 0.012, 0.013]), max_size=4), requests([[]]), servers=1)

    assert [found.batch(rate) for rate in (50.0, 150.0, 290.0, 1000.0)] == [1, 2, 4, 4]
    assert found.most == pytest.approx(4 / 0.013)


def test_who_shares_a_pool_has_the_servers_that_the_others_leave():
    alone = asked(station(work([0.01])), requests([[]]), servers=4)

    one, other = pooled([alone, alone], holds=[0.5, 0.5], replicas=8, rate=100.0)

    assert one.servers == pytest.approx(4 * (1 - 0.25))
    assert one.mark != other.mark


def test_who_holds_no_share_leaves_the_cards_alone():
    on_gpu = asked(station(work([0.01])), requests([[]]), servers=2)
    on_cpu = asked(station(work([0.01])), requests([[]]), servers=8)

    one, other = pooled([on_gpu, on_cpu], holds=[0.5, 0.0], replicas=8, rate=100.0)

    assert one.servers == 2.0
    assert other.servers == pytest.approx(8 * (1 - 0.125))


def test_items_that_come_one_by_one_are_not_waited_for_twice():
    before = asked(station(work([0.01], scope=0), scope=0), requests([4, 4]))

    found = streamed(before, before)

    assert found.bunch == 1.0
    assert found.lead is not None
    assert found.lead.tolist() == before.drain.tolist()


def test_stations_of_equal_numbers_have_equal_keys():
    pool = Pool(servers=1, cards=(1.0,))
    sizes = np.zeros(1)

    assert key(station(work([0.01])), pool, sizes) == key(station(work([0.01])), pool, sizes)
    assert key(station(work([0.01])), pool, sizes) != key(station(work([0.02])), pool, sizes)
