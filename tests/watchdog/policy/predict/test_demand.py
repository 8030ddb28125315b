import numpy as np
import pytest

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Pool, Station, Work
from regrain_watchdog.policy.predict.demand import Demands, key, pooled, streamed
from regrain_watchdog.policy.predict.traffic import traffic


def station(*works, after=(), scope=PER_REQUEST, max_size=1, take=1.0):
    return Station(
        stages=("s",),
        after=after,
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
    return Demands(load).of(one, Pool(servers=servers, cards=(float(servers),)), np.array(sizes))


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


def chain(*stations, load, rate, servers, replicas, sizes=(0.0,)):
    """What is asked of stations in a row that share a pool, each of which could have so many servers alone."""
    alone = [asked(one, load, servers=many, sizes=sizes) for one, many in zip(stations, servers, strict=True)]
    return pooled(alone, stations, [one.after for one in stations], replicas, rate)


def test_who_shares_a_pool_has_the_servers_that_those_further_on_leave():
    first, last = station(work([0.01]), take=0.5), station(work([0.01]), after=(0,), take=0.5)

    one, other = chain(first, last, load=requests([[]]), rate=100.0, servers=(4, 4), replicas=8)

    assert one.servers == pytest.approx(4 * (1 - 0.25))
    assert other.servers == 4.0
    assert one.mark != other.mark


def test_who_holds_no_share_leaves_the_cards_alone():
    on_gpu, on_cpu = station(work([0.01]), take=0.5), station(work([0.01]), after=(0,), take=0.0)

    one, other = chain(on_gpu, on_cpu, load=requests([[]]), rate=100.0, servers=(2, 8), replicas=8)

    assert (one.servers, other.servers) == (2.0, 8.0)


def test_a_pool_that_is_too_full_lacks_where_requests_come_in_and_bears_what_all_take_together():
    rows = station(work([0.02]), take=0.0), station(work([0.03]), after=(0,), take=0.0)

    one, other = chain(*rows, load=requests([[]]), rate=100.0, servers=(1, 1), replicas=1)

    assert one.most == pytest.approx(1 / 0.05)
    assert other.most > one.most


def test_batches_of_a_pool_grow_where_requests_come_in_until_it_keeps_up():
    batched = station(work([0.02, 0.02, 0.02, 0.02]), max_size=4, take=0.0)
    single = station(work([0.005]), after=(0,), take=0.0)

    one, other = chain(batched, single, load=requests([[]]), rate=100.0, servers=(1, 1), replicas=1)
    light, _ = chain(batched, single, load=requests([[]]), rate=10.0, servers=(1, 1), replicas=1)

    assert one.servers == pytest.approx(1 - 100 * 0.005)
    assert light.servers == pytest.approx(1 - 10 * 0.005)
    assert other.servers == 1.0


def test_further_on_in_a_pool_there_are_no_batches_but_of_what_comes_at_once():
    single, batched = (
        station(work([0.005]), take=0.0),
        station(work([0.02] * 4), after=(0,), max_size=4, take=0.0),
    )

    one, _ = chain(single, batched, load=requests([[]]), rate=100.0, servers=(1, 1), replicas=1)

    assert one.most == pytest.approx(1 / 0.025)


def test_the_last_dispatch_of_a_list_is_what_is_left_of_it():
    listed = asked(
        station(work([0.01, 0.01, 0.01, 0.01], scope=0), scope=0, max_size=4),
        requests([1, 2, 3, 4, 5, 6, 7, 8]),
    )
    mean = np.mean([1, 1, 1, 1, 2, 2, 2, 2])

    assert listed.takes(4) == pytest.approx(0.01 * mean)
    assert listed.takes(1) == pytest.approx(0.01 * 4.5)


def test_a_pool_spends_nothing_on_lists_that_are_always_empty():
    first, listed = (
        station(work([0.01]), take=0.0),
        station(work([0.01] * 4, scope=0), after=(0,), scope=0, max_size=4),
    )

    one, other = chain(first, listed, load=requests([0, 0]), rate=10.0, servers=(1, 1), replicas=1)

    assert (one.servers, other.servers) == (1.0, 1.0)


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
