"""The GPUs that can be asked for, and how they are asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.cards import CARDS, LEAST_SHARE, MOST, card_of, parse_gpus, priced
from regrain.errors import SpecError
from regrain_runtime.emulated.models import shipped

COUNTED = st.tuples(st.sampled_from(sorted(CARDS)), st.integers(1, 8))


@pytest.mark.parametrize(
    ("written", "names"),
    [
        pytest.param("emulated:v100", ["v100"], id="one"),
        pytest.param("emulated:v100x2", ["v100", "v100"], id="two of a type"),
        pytest.param("emulated:a10x1,h200", ["a10", "h200"], id="two types"),
        pytest.param("emulated:a100x2, v100", ["a100", "a100", "v100"], id="a space after the comma"),
    ],
)
def test_a_node_is_written_as_types_and_counts(written, names):
    assert [card.name for card in parse_gpus(written)] == names


@given(st.lists(COUNTED, min_size=1, max_size=8))
def test_every_node_within_the_limit_is_read_in_order(wanted):
    written = "emulated:" + ",".join(f"{name}x{count}" for name, count in wanted)

    assert [card.name for card in parse_gpus(written)] == [n for n, count in wanted for _ in range(count)]


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        pytest.param("v100x2", "must be like", id="no prefix"),
        pytest.param("emulated:", "must be like", id="nothing after the prefix"),
        pytest.param("emulated:v100x", "must be like", id="no count after the x"),
        pytest.param("emulated:v100x-1", "must be like", id="a negative count"),
        pytest.param("emulated:v100x1.5", "must be like", id="half a card"),
        pytest.param("emulated:v100,,a10", "must be like", id="an empty item"),
        pytest.param("emulated:V100", "must be like", id="capitals"),
        pytest.param("emulated:v100x" + "9" * 5000, "must be like", id="a count of thousands of digits"),
        pytest.param("emulated:t4x2", "no GPU type 't4'", id="an unknown type"),
        pytest.param("emulated:v100x0", "at least 1", id="none"),
        pytest.param("emulated:v100x65", f"1 to {MOST} GPUs", id="too many of one type"),
        pytest.param("emulated:v100x60,a10x5", f"1 to {MOST} GPUs", id="too many of all"),
    ],
)
def test_what_is_no_node_is_refused_with_what_is_allowed(written, complaint):
    with pytest.raises(SpecError, match=complaint) as caught:
        parse_gpus(written)

    message = str(caught.value)
    assert written in message
    assert "v100" in message.replace(written, "") or str(MOST) in message.replace(written, "")


def test_a_share_is_a_part_of_the_cards_multiprocessors():
    card = CARDS["v100"]

    assert [card.share(sms) for sms in (4, 40, 80)] == [0.05, 0.5, 1.0]


@pytest.mark.parametrize("sms", [0, -1, 81])
def test_a_card_gives_no_more_multiprocessors_than_it_has(sms):
    with pytest.raises(SpecError, match="1 to 80 SMs to give, asked for"):
        CARDS["v100"].share(sms)


def test_a_scenarios_prices_replace_those_of_the_types_it_names():
    cards = priced(parse_gpus("emulated:v100x2,a10"), {"v100": 2.0})

    assert [card.price for card in cards] == [2.0, 2.0, CARDS["a10"].price]


@pytest.mark.parametrize(
    ("prices", "complaint"),
    [
        pytest.param({"t4": 1.0}, "no GPU type 't4', the types are v100", id="an unknown type"),
        pytest.param({"a10": -0.5}, "a10 must cost at least 0 dollars an hour, was -0.5", id="negative"),
        pytest.param({"a10": float("nan")}, "at least 0 dollars an hour, was nan", id="no number"),
    ],
)
def test_a_price_that_is_none_is_refused(prices, complaint):
    with pytest.raises(SpecError, match=complaint):
        priced(parse_gpus("emulated:v100"), prices)


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
def test_every_type_has_multiprocessors_memory_and_a_price(card):
    assert CARDS[card.name] is card
    assert card.sms > 0
    assert card.memory > 0
    assert card.price > 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA A10G", "a10"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "a100"),
        ("NVIDIA H200", "h200"),
    ],
)
def test_a_card_that_is_there_costs_what_its_type_does(name, kind):
    assert card_of(name, sms=1, memory=1).price == CARDS[kind].price


@pytest.mark.parametrize("name", ["NVIDIA RTX A1000 Laptop GPU", "NVIDIA GeForce RTX 4090", "NVIDIA GA100"])
def test_a_card_of_no_known_type_has_no_price_though_its_name_looks_like_one(name):
    assert card_of(name, sms=1, memory=1).price == 0.0


def test_no_lease_is_smaller_than_what_every_model_was_measured_on():
    assert {model.shares[0] for model in shipped().models} == {LEAST_SHARE}


@pytest.mark.parametrize(
    ("name", "least"), [("v100", 0.05), ("a10", 0.056), ("a100", 0.056), ("h200", 0.054)]
)
def test_a_lease_of_too_few_whole_sms_is_refused_with_the_least_that_is_allowed(name, least):
    card = CARDS[name]

    card.check_lease("app/a", least)
    assert shipped().models[0].time(1, card.share(int(least * card.sms + 1e-6))) > 0
    with pytest.raises(
        SpecError, match=f"app/a is to run on .* SMs of an emulated {name}; .* ask for {least} at least"
    ):
        card.check_lease("app/a", least - 0.004)
