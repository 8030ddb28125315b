"""What an arbiter decides, step by step, on a device of 100 SMs and 1000 bytes."""

from __future__ import annotations

import pytest

from regrain.wire.lease import Ask, Beside, Granted, LeaseError, Refused, Revoked, Share
from regrain_watchdog.gpu.arbiter import Arbiter, End, Tell
from regrain_watchdog.gpu.limits import Device, Limits

LIMITS = Limits(longest=10.0, grace=0.5, hang=2.0, reserve_after=1.0, patience=5.0, window=1.0)


@pytest.fixture
def arbiter() -> Arbiter:
    return Arbiter(Device(sms=100, memory=1000), epoch=7, limits=LIMITS)


def join(arbiter: Arbiter, name: str = "a", *, now: float = 0.0, pid: int = 0, **share: float) -> int:
    return arbiter.register(name, Share(**share), pid=pid or 1000 + ord(name[0]), now=now)


def ask(arbiter: Arbiter, client: int, share: float, *, now: float = 0.0, number: int = 1, **more) -> None:
    arbiter.ask(client, Ask(number, share, more.pop("seconds", 1.0), **more), now)


def granted(arbiter: Arbiter, now: float = 0.0) -> list[tuple[int, int]]:
    """Schedule; return who was granted a lease, and its number."""
    return [
        (told.client, told.frame.lease)
        for told in arbiter.schedule(now)
        if isinstance(told, Tell) and isinstance(told.frame, Granted)
    ]


def refused(arbiter: Arbiter, now: float) -> list[Refused]:
    return [told.frame for told in arbiter.schedule(now) if isinstance(told.frame, Refused)]


def test_leases_run_side_by_side_as_long_as_they_fit(arbiter):
    a, b, c = (join(arbiter, name) for name in "abc")
    for client, share in ((a, 0.5), (b, 0.4), (c, 0.2)):
        ask(arbiter, client, share)

    first = granted(arbiter)
    arbiter.release(b, 7, first[1][1], 1.0)

    assert [client for client, _ in first] == [a, b]
    assert granted(arbiter, 1.0) == [(c, 3)]


def test_a_grant_says_how_many_sms_for_how_long_and_of_which_epoch(arbiter):
    client = join(arbiter)
    ask(arbiter, client, 0.259, seconds=0.25, number=4)

    assert arbiter.schedule(0.0) == [Tell(client, Granted(4, 7, 1, 25, 0.25))]


def test_a_grant_says_what_is_held_beside_it(arbiter):
    for name, share in (("a", 0.5), ("b", 0.25), ("c", 0.25)):
        ask(arbiter, join(arbiter, name), share)

    beside = [told.frame.beside for told in arbiter.schedule(0.0)]

    assert beside == [(), (Beside("a", 50),), (Beside("a", 50), Beside("b", 25))]


@pytest.mark.parametrize(
    ("share", "sms"),
    [
        pytest.param(0.07, 7, id="0.07 x 100 is 7.000000000000001 or less"),
        pytest.param(0.29, 29, id="0.29 x 100 is 28.999999999999996"),
        pytest.param(1 / 3, 33, id="down"),
        pytest.param(0.001, 1, id="one at least"),
        pytest.param(1.0, 100, id="all"),
    ],
)
def test_a_share_is_rounded_down_to_whole_sms_and_is_one_at_least(arbiter, share, sms):
    client = join(arbiter)
    ask(arbiter, client, share)

    assert arbiter.schedule(0.0)[0].frame.sms == sms


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        pytest.param(Ask(1, 0.0, 1.0), r"share of a lease must be in \(0, 1\], was 0", id="no share"),
        pytest.param(Ask(1, 1.1, 1.0), "was 1.1", id="over the device"),
        pytest.param(Ask(1, float("nan"), 1.0), "was nan", id="no number"),
        pytest.param(Ask(1, 0.5, 0.0), "more than 0 and at most 10 s", id="no time"),
        pytest.param(Ask(1, 0.5, 11.0), "at most 10 s, was 11.0 s: renew", id="too long"),
        pytest.param(Ask(1, 0.5, float("nan")), "was nan", id="nan seconds"),
        pytest.param(Ask(1, 0.5, 1.0, deadline=float("nan")), "deadline", id="nan deadline"),
        pytest.param(Ask(1, 0.5, 1.0, memory=101), "declared 100 bytes, and asks for 101", id="memory"),
        pytest.param(Ask(1, 0.5, 1.0, memory=-1), "asks for -1", id="negative memory"),
        pytest.param(Ask(0, 0.5, 1.0), "number 0", id="number"),
    ],
)
def test_an_ask_that_cannot_be_granted_is_refused_at_once(arbiter, frame, message):
    client = join(arbiter, memory=100)

    with pytest.raises(LeaseError, match=message):
        arbiter.ask(client, frame, 0.0)

    assert arbiter.schedule(0.0) == []


def test_asks_are_told_apart_and_bounded(arbiter):
    client = join(arbiter)
    for number in range(1, LIMITS.asks + 1):
        ask(arbiter, client, 1.0, number=number)

    with pytest.raises(LeaseError, match="waits already"):
        ask(arbiter, client, 1.0, number=3)
    with pytest.raises(LeaseError, match="64 asks waiting"):
        ask(arbiter, client, 1.0, number=100)


def test_an_ask_whose_deadline_passes_is_refused_and_told_who_holds_what(arbiter):
    a, b = join(arbiter, "a", pid=11), join(arbiter, "b")
    ask(arbiter, a, 0.7)
    granted(arbiter)
    ask(arbiter, b, 0.5, deadline=0.5)

    assert arbiter.wake(0.0) == 0.5
    (told,) = refused(arbiter, 0.5)
    assert told.number == 1
    assert told.reason == "no lease of 50 SMs within 500 ms; 30 are free, held: a (process 11) 70 SMs"


def test_of_one_client_the_earliest_deadline_goes_first(arbiter):
    client = join(arbiter)
    ask(arbiter, client, 1.0, number=1)
    ask(arbiter, client, 1.0, number=2, deadline=9.0)
    ask(arbiter, client, 1.0, number=3, deadline=5.0)

    assert [told.frame.number for told in arbiter.schedule(0.0)] == [3]


def test_a_withdrawn_ask_is_granted_to_nobody(arbiter):
    client = join(arbiter)
    ask(arbiter, client, 1.0)

    assert arbiter.withdraw(client, 1, 0.0)
    assert not arbiter.withdraw(client, 1, 0.0)
    assert granted(arbiter) == []


def test_renewing_keeps_the_turn_that_releasing_and_asking_would_lose(arbiter):
    heavy, light = join(arbiter, "a", weight=3.0), join(arbiter, "b")
    ask(arbiter, heavy, 1.0)
    ask(arbiter, light, 1.0)
    turns = []
    for now in range(40):
        ((client, lease),) = granted(arbiter, float(now))
        turns.append(client)
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 1.0), now + 1.0)

    assert abs(turns.count(heavy) - 30) <= 1


def test_releasing_and_asking_in_two_steps_loses_the_turn(arbiter):
    heavy, light = join(arbiter, "a", weight=3.0), join(arbiter, "b")
    ask(arbiter, heavy, 1.0)
    ask(arbiter, light, 1.0)
    turns = []
    ((client, lease),) = granted(arbiter)
    for now in range(1, 41):
        turns.append(client)
        arbiter.release(client, 7, lease, float(now))
        last, ((client, lease),) = client, granted(arbiter, float(now))
        ask(arbiter, last, 1.0, now=float(now))

    assert turns.count(heavy) == turns.count(light)


def test_who_was_away_saves_nothing_up(arbiter):
    busy, back = join(arbiter, "a"), join(arbiter, "b")
    ask(arbiter, busy, 1.0)
    turns = []
    for now in range(8):
        if now == 4:
            ask(arbiter, back, 1.0, now=4.0)
        ((client, lease),) = granted(arbiter, float(now))
        turns.append("ab"[client - 1])
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 1.0), now + 1.0)

    assert turns in (list("aaaaabab"), list("aaaababa"))


def test_what_was_not_used_is_given_back(arbiter):
    brief, full = join(arbiter, "a"), join(arbiter, "b")
    for client in (brief, full):
        ask(arbiter, client, 1.0)
    turns, now = [], 0.0
    for _ in range(11):
        ((client, lease),) = granted(arbiter, now)
        turns.append(client)
        now += 0.125 if client == brief else 1.0
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 1.0), now)

    assert turns.count(full) == 2
    assert turns.count(brief) == 9


def test_overuse_is_charged(arbiter):
    greedy, fair = join(arbiter, "a"), join(arbiter, "b")
    for client in (greedy, fair):
        ask(arbiter, client, 1.0, seconds=0.1)
    held, now = {greedy: 0.0, fair: 0.0}, 0.0
    for _ in range(60):
        ((client, lease),) = granted(arbiter, now)
        time = 0.5 if client == greedy else 0.1
        held[client] += time
        now += time
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 0.1), now)

    assert abs(held[greedy] - held[fair]) <= 0.5 + 0.1
    assert arbiter.status(now).usage[0].overuse == pytest.approx(held[greedy] * 0.8)


def test_a_small_ask_goes_before_a_large_one_that_does_not_fit_for_a_while(arbiter):
    small, large, other = (join(arbiter, name) for name in "abc")
    ask(arbiter, small, 0.5, seconds=5.0)
    first = granted(arbiter)
    ask(arbiter, large, 1.0, now=1.0)
    ask(arbiter, other, 0.3, now=1.0)
    second = granted(arbiter, 1.0)
    arbiter.renew(other, 7, second[0][1], Ask(2, 0.3, 1.0), 2.5)

    assert [client for client, _ in second] == [other]
    assert granted(arbiter, 2.5) == []
    arbiter.release(small, 7, first[0][1], 3.0)
    assert [client for client, _ in granted(arbiter, 3.0)] == [large]


def test_the_more_urgent_go_first_and_the_others_once_in_a_while(arbiter):
    urgent, other = join(arbiter, "a", priority=0), join(arbiter, "b", priority=1)
    for client in (urgent, other):
        ask(arbiter, client, 1.0)
    turns = []
    for now in range(14):
        ((client, lease),) = granted(arbiter, float(now))
        turns.append("ab"[client - 1])
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 1.0), now + 1.0)

    assert "".join(turns) == "aaaaabaaaaabaa"


def test_floors_over_the_device_are_refused_naming_who_holds_what(arbiter):
    join(arbiter, "a", floor=0.5, pid=11)
    join(arbiter, "b", floor=0.25, pid=12)

    with pytest.raises(LeaseError) as error:
        join(arbiter, "c", floor=0.3)
    assert str(error.value) == (
        "c wants 0.3 of the GPU for sure, 0.25 is left; reserved by: a (process 11) 0.5, b (process 12) 0.25"
    )
    join(arbiter, "c", floor=0.25)


def test_a_floor_is_free_again_once_its_client_is_gone(arbiter):
    client = join(arbiter, "a", floor=1.0)
    arbiter.gone(client, 1.0)

    join(arbiter, "b", floor=1.0)


def test_a_floor_is_kept_against_a_heavier_weight(arbiter):
    sure, heavy = join(arbiter, "a", floor=0.5, weight=0.01), join(arbiter, "b", weight=100.0)
    for client in (sure, heavy):
        ask(arbiter, client, 1.0, seconds=0.1)
    held = {sure: 0.0, heavy: 0.0}
    for step in range(400):
        ((client, lease),) = granted(arbiter, step / 10)
        held[client] += 0.1
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 0.1), (step + 1) / 10)

    assert held[sure] == pytest.approx(20.0, abs=1.2)


def test_a_floor_is_kept_whatever_its_client_used_while_it_was_alone(arbiter):
    sure, heavy = join(arbiter, "a", floor=0.5), join(arbiter, "b", weight=100.0)
    ask(arbiter, sure, 1.0, seconds=0.1)
    held = {sure: 0.0, heavy: 0.0}
    for step in range(250):
        if step == 200:
            ask(arbiter, heavy, 1.0, now=20.0, seconds=0.1)
            held[sure] = 0.0
        ((client, lease),) = granted(arbiter, step / 10)
        held[client] += 0.1
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 0.1), (step + 1) / 10)

    assert held[sure] == pytest.approx(2.5, abs=0.3)


def test_a_ceiling_binds_alone_too_and_can_be_moved_while_it_runs(arbiter):
    client = join(arbiter, ceiling=0.25)
    now, held = 0.0, [0.0, 0.0]
    ask(arbiter, client, 1.0, seconds=0.1)
    while now < 40.0:
        if now >= 20.0:
            arbiter.adjust(client, Share(ceiling=0.75), now)
        if not (grants := granted(arbiter, now)):
            now = arbiter.wake(now)
            continue
        held[now >= 20.0] += 0.1
        now += 0.1
        arbiter.renew(client, 7, grants[0][1], Ask(2, 1.0, 0.1), now)

    assert held == pytest.approx([5.0, 15.0], abs=0.5)


def test_an_adjustment_that_is_refused_leaves_the_old_share(arbiter):
    join(arbiter, "a", floor=0.8, memory=900)
    client = join(arbiter, "b", floor=0.1, memory=100)
    before = arbiter.status(0.0).members[1].share

    with pytest.raises(LeaseError, match=r"wants 0\.3 of the GPU"):
        arbiter.adjust(client, Share(floor=0.3), 0.0)
    with pytest.raises(LeaseError, match="wants 101 B of GPU memory, 100 B of 1000 B is free"):
        arbiter.adjust(client, Share(memory=101), 0.0)
    assert arbiter.status(0.0).members[1].share == before
    arbiter.adjust(client, Share(floor=0.2, memory=50), 0.0)
    assert arbiter.status(0.0).free_memory == 50


def test_moving_a_weight_while_a_lease_runs_gains_nothing(arbiter):
    a, b = join(arbiter, "a"), join(arbiter, "b")
    ask(arbiter, a, 1.0, seconds=10.0)
    ((_, lease),) = granted(arbiter)
    ask(arbiter, b, 1.0)
    granted(arbiter)
    arbiter.adjust(a, Share(weight=0.01), 0.0)
    arbiter.renew(a, 7, lease, Ask(2, 1.0, 1.0), 1.0)

    assert [client for client, _ in granted(arbiter, 1.0)] == [b]


def test_a_stale_grant_is_fenced_off(arbiter):
    a, b = join(arbiter, "a"), join(arbiter, "b")
    ask(arbiter, a, 0.5)
    ((_, lease),) = granted(arbiter)

    with pytest.raises(LeaseError, match="is of epoch 6, this arbiter's is 7"):
        arbiter.release(a, 6, lease, 1.0)
    with pytest.raises(LeaseError, match="client 2 holds no lease 1"):
        arbiter.release(b, 7, lease, 1.0)
    arbiter.release(a, 7, lease, 1.0)
    with pytest.raises(LeaseError, match="client 1 holds no lease 1"):
        arbiter.renew(a, 7, lease, Ask(2, 0.5, 1.0), 1.0)
    with pytest.raises(LeaseError, match="no client 99 is known"):
        arbiter.ask(99, Ask(1, 0.5, 1.0), 1.0)


def test_a_renewal_that_is_refused_leaves_the_lease(arbiter):
    client = join(arbiter)
    ask(arbiter, client, 0.5)
    ((_, lease),) = granted(arbiter)

    with pytest.raises(LeaseError, match=r"was 2\.0"):
        arbiter.renew(client, 7, lease, Ask(2, 2.0, 1.0), 1.0)
    assert arbiter.status(1.0).free_sms == 50


def test_an_arbiter_that_took_over_grants_nothing_before_it_opens():
    arbiter = Arbiter(Device(sms=100, memory=1000), epoch=8, limits=LIMITS, opens=3.0)
    client = join(arbiter)
    ask(arbiter, client, 1.0)

    assert granted(arbiter, 0.0) == []
    assert arbiter.wake(0.0) == 3.0
    assert [who for who, _ in granted(arbiter, 3.0)] == [client]


def test_a_lost_connection_frees_nothing_before_the_process_is_gone(arbiter):
    a, b = join(arbiter, "a"), join(arbiter, "b")
    ask(arbiter, a, 1.0)
    granted(arbiter)
    ask(arbiter, a, 1.0, number=2)
    ask(arbiter, b, 1.0)
    arbiter.lost(a, 0.5)

    assert granted(arbiter, 0.5) == []
    arbiter.gone(a, 0.6)
    assert [client for client, _ in granted(arbiter, 0.6)] == [b]
    assert [member.client for member in arbiter.status(0.6).members] == [b]


def test_who_comes_back_gives_up_what_it_held_before(arbiter):
    a, b = join(arbiter, "a", pid=11, memory=900, floor=0.9), join(arbiter, "b")
    ask(arbiter, a, 1.0)
    granted(arbiter)
    ask(arbiter, b, 1.0)
    arbiter.lost(a, 0.5)
    arbiter.retract(a, 1.0)
    again = join(arbiter, "a", pid=11, memory=900, floor=0.9, now=1.0)

    assert again != a
    assert [client for client, _ in granted(arbiter, 1.0)] == [b]
    assert arbiter.status(1.0).free_memory == 100


def test_a_holder_over_its_time_is_told_and_then_ended_if_others_wait(arbiter):
    a, b = join(arbiter, "a"), join(arbiter, "b")
    ask(arbiter, a, 1.0, seconds=1.0)
    granted(arbiter)
    ask(arbiter, b, 1.0)

    assert arbiter.wake(0.0) == 1.5
    assert arbiter.schedule(1.49) == []
    assert arbiter.schedule(1.5) == [Tell(a, Revoked(7, 1, "lease 1 is 500 ms over, and others wait"))]
    assert arbiter.wake(1.5) == 3.5
    assert arbiter.schedule(3.5) == [End(a, "a: lease 1 is 2.5 s over, and others wait")]
    assert arbiter.wake(3.5) is None
    assert arbiter.schedule(9.0) == []


def test_a_holder_over_its_time_is_left_alone_while_nobody_waits(arbiter):
    a, b = join(arbiter, "a"), join(arbiter, "b")
    ask(arbiter, a, 1.0, seconds=1.0)
    granted(arbiter)

    assert arbiter.wake(0.0) is None
    assert arbiter.schedule(50.0) == []
    ask(arbiter, b, 1.0, now=50.0)
    assert [type(told.frame) for told in arbiter.schedule(50.0)] == [Revoked]
    assert arbiter.wake(50.0) == 52.0


@pytest.mark.parametrize("name", ["", "x" * 129])
def test_a_client_has_a_name_of_some_length(arbiter, name):
    with pytest.raises(LeaseError, match="1 to 128 characters"):
        arbiter.register(name, Share(), pid=1, now=0.0)
