"""A device's memory is promised once, whatever is declared, seen, and left behind."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from regrain.wire.lease import LeaseError
from regrain_watchdog.gpu.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(1000, reserve=100)


def test_the_reserve_is_given_to_nobody(ledger):
    with pytest.raises(LeaseError) as error:
        ledger.declare(1, "a", 11, 901)

    assert str(error.value) == "a wants 901 B of GPU memory, 900 B of 900 B is free; held by: nobody"
    ledger.declare(1, "a", 11, 900)
    assert ledger.free == 0


def test_a_refusal_names_all_that_hold(ledger):
    ledger.declare(1, "a", 11, 300)
    ledger.declare(2, "b", 12, 200)
    ledger.declare(3, "c", 13, 0)
    ledger.give_up(2)
    ledger.observe({11: 350, 12: 150, 99: 40})

    with pytest.raises(LeaseError) as error:
        ledger.declare(4, "d", 14, 500)

    assert str(error.value) == (
        "d wants 500 B of GPU memory, 360 B of 900 B is free; held by: a (process 11) 300 B; "
        "b (process 12, which is gone) 150 B; process 11 50 B beyond what it declared; "
        "process 99, which is no client, 40 B"
    )


def test_weights_that_one_process_holds_for_all_are_counted_within_what_these_declare(ledger):
    ledger.declare(1, "a", 11, 300)
    ledger.observe({11: 50, 99: 250}, holder=99)
    assert ledger.free == 600

    ledger.declare(2, "b", 12, 600)

    ledger.observe({11: 50, 12: 350, 99: 250}, holder=99)
    assert ledger.free == 0


def test_weights_beyond_what_clients_declare_are_the_holders_own(ledger):
    ledger.declare(1, "a", 11, 300)
    ledger.observe({11: 100, 99: 250}, holder=99)
    assert ledger.free == 550

    with pytest.raises(LeaseError) as error:
        ledger.declare(2, "b", 12, 800)

    assert str(error.value).endswith(
        "held by: a (process 11) 300 B; the holder of weights (process 99) 50 B beyond what clients declare"
    )
    ledger.strike_out(1)
    assert ledger.free == 900 - 100 - 250


def test_less_may_be_declared_where_too_much_is_held_already(ledger):
    ledger.declare(1, "a", 11, 500)
    ledger.declare(2, "b", 12, 400)
    ledger.observe({99: 200})
    assert ledger.free == -200

    ledger.declare(1, "a", 11, 400)
    assert ledger.free == -100
    with pytest.raises(LeaseError, match="0 B of 900 B is free"):
        ledger.declare(1, "a", 11, 401)
    assert ledger.declared_by("a") == 400


def test_quarantine_shrinks_to_what_is_seen_and_never_grows(ledger):
    ledger.declare(1, "a", 11, 500)
    ledger.observe({11: 450})
    ledger.give_up(1)
    seen = []
    for nbytes in (450, 200, 300, 0):
        ledger.observe({11: nbytes})
        seen.append((ledger.quarantined, ledger.free))

    assert seen == [(450, 450), (200, 700), (200, 600), (0, 900)]


def test_what_a_process_declares_anew_is_not_held_twice(ledger):
    ledger.declare(1, "a", 11, 400)
    ledger.give_up(1)
    ledger.declare(2, "a", 11, 300)
    assert ledger.free == 200

    ledger.observe({11: 300})

    assert (ledger.quarantined, ledger.free) == (0, 600)


def test_clients_of_one_process_hold_together(ledger):
    ledger.declare(1, "a", 11, 300)
    ledger.declare(2, "a", 11, 300)
    ledger.observe({11: 500})
    assert (ledger.free, ledger.seen_of("a")) == (300, 500)

    ledger.give_up(1)
    ledger.observe({11: 500})
    assert (ledger.quarantined, ledger.free) == (200, 400)
    ledger.strike_out(2)
    assert ledger.declared_by("a") == 0


def test_what_processes_of_a_function_hold_is_summed_up_process_by_process(ledger):
    ledger.declare(1, "a", 11, 400)
    ledger.declare(2, "a", 12, 400)
    ledger.declare(3, "b", 13, 50)
    ledger.observe({11: 450, 12: 200})

    assert (ledger.held_by("a"), ledger.held_by("b")) == (850, 50)
    ledger.give_up(2)
    assert ledger.held_by("a") == 850
    ledger.observe({11: 450, 12: 200})
    assert ledger.held_by("a") == 650


def test_what_a_process_of_two_functions_holds_is_counted_once(ledger):
    ledger.declare(1, "a", 11, 100)
    ledger.declare(2, "b", 11, 200)
    ledger.observe({11: 350})

    assert (ledger.held_by("a"), ledger.held_by("b")) == (150, 200)


def test_weights_that_nobody_declares_are_told(ledger):
    ledger.declare(1, "a", 11, 300)
    ledger.observe({11: 100, 99: 250}, holder=99)
    assert ledger.unclaimed == 50

    ledger.declare(2, "b", 12, ledger.free + ledger.unclaimed)

    assert (ledger.unclaimed, ledger.free) == (0, 0)


class Card(RuleBasedStateMachine):
    """Processes that hold at most what was granted to them, on a card of 1000 bytes, seen now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(1000)
        self.holds: dict[int, int] = {}
        self.granted: dict[int, int] = {}
        self.last = 0

    @rule(nbytes=st.integers(0, 600), part=st.floats(0, 1))
    def join(self, nbytes: int, part: float) -> None:
        self.last += 1
        with contextlib.suppress(LeaseError):
            self.ledger.declare(self.last, "f", self.last, nbytes)
            self.granted[self.last] = nbytes
            self.holds[self.last] = int(nbytes * part)

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        pid = data.draw(st.sampled_from(sorted(self.granted)))
        self.ledger.give_up(pid)
        del self.granted[pid]

    @rule(part=st.floats(0, 1))
    def driver_takes_back(self, part: float) -> None:
        for pid in list(self.holds):
            if pid not in self.granted:
                self.holds[pid] = int(self.holds[pid] * part)

    @rule()
    def look(self) -> None:
        self.ledger.observe(self.holds)

    @invariant()
    def never_promised_twice(self) -> None:
        dead = sum(nbytes for pid, nbytes in self.holds.items() if pid not in self.granted)
        assert sum(self.granted.values()) + dead <= 1000
        assert self.ledger.free >= 0
        assert self.ledger.free == 1000 - self.ledger.held_by("f")
        assert self.ledger.free <= 1000 - sum(self.granted.values()) - dead


TestCard = Card.TestCase
TestCard.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(st.dictionaries(st.integers(1, 5), st.integers(-10, 600)))
@settings(deadline=None)
def test_any_observation_is_taken(used):
    ledger = Ledger(1000)
    ledger.declare(1, "a", 1, 100)
    ledger.observe(used)

    assert ledger.free == 1000 - sum(
        max(0, nbytes, 100 if pid == 1 else 0) for pid, nbytes in ({1: 0} | used).items()
    )
