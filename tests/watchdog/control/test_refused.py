"""Which plans may be asked for once one was refused for want of room."""

from dataclasses import replace

import pytest
from msgspec import structs

from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.control.observation import living_of
from regrain_watchdog.control.refused import LASTS, Refused


def whole(share, replicas=1):
    return Plan((_group(("read", "look", "say"), share, replicas),))


def split(share, replicas=1):
    return Plan((_group(("read", "look"), share, replicas), _group(("say",), 0.1, 1)))


def _group(stages, share, replicas):
    return Group(stages=stages, replicas=replicas, gpu=GpuShare(fraction=share))


@pytest.fixture
def leads(problem):
    """Refuse plans one after the other; say whether another one may be asked for after some seconds."""
    asked = problem()
    one_card = replace(asked, node=structs.replace(asked.node, cards=asked.node.cards[:1]))

    def learn(*refused, present, other, after=0.0, then=None):
        found = Refused()
        for one in refused:
            found.add(one, present, living_of(present), one_card, 0.0)
        in_force = then or present
        return found.leads(other, in_force, living_of(in_force), one_card, after)

    return learn


def test_any_plan_may_be_asked_for_until_one_is_refused(leads):
    assert leads(present=split(0.5), other=whole(0.8))


@pytest.mark.parametrize(("share", "may"), [(0.8, False), (0.6, False), (0.5, False), (0.4, True)])
def test_once_one_is_refused_only_such_are_asked_for_as_have_room_beside_the_one_in_force(leads, share, may):
    assert leads(whole(0.8), present=split(0.5), other=whole(share)) is may


def test_replicas_that_are_smaller_may_be_more_since_the_way_goes_over_few_of_them(leads):
    assert leads(whole(0.8), present=split(0.5), other=whole(0.2, 4))


def test_where_there_is_less_room_than_is_known_each_refusal_asks_for_less(leads):
    present = split(0.1)
    once, twice = (whole(0.6),), (whole(0.6), whole(0.3))

    assert [leads(*once, present=present, other=whole(share)) for share in (0.6, 0.5, 0.3)] == [
        False,
        False,
        True,
    ]
    assert not leads(*twice, present=present, other=whole(0.3, 2))
    assert leads(*twice, present=present, other=whole(0.1))


def test_another_plan_in_force_leaves_other_room(leads):
    assert leads(whole(0.8), present=split(0.5), other=whole(0.8), then=split(0.1))


def test_that_there_was_no_room_counts_for_a_while(leads):
    found = [leads(whole(0.8), present=split(0.5), other=whole(0.8), after=after) for after in (0.0, LASTS)]

    assert found == [False, True]


def test_what_living_replicas_can_serve_always_has_its_room(leads):
    assert leads(whole(0.8), present=split(0.5), other=split(0.5))
    assert leads(whole(0.8), present=split(0.5), other=split(0.4))


def test_a_refusal_of_what_living_replicas_can_serve_says_nothing_of_the_room(leads):
    """It had another reason, such as a share that no device leases."""
    assert leads(whole(0.3), present=whole(0.4), other=whole(0.4, 2))
