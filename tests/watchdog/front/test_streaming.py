"""Items that are collected into one answer."""

from http import HTTPStatus

import pytest

from regrain.errors import RequestError
from regrain.wire.codec import pack
from regrain.wire.frames import Value
from regrain_watchdog.front.streaming import AHEAD, WHOLE_LIMIT, Collected

NONSENSE = Value(b"\xc1", ())


def collected(*values):
    items, granted = Collected(), []
    items.attach(granted.append)
    for value in values:
        items.put(value)
    return items, granted


def test_items_are_one_list_and_each_lets_another_one_come():
    items, granted = collected(pack(1, None), pack("two", None))

    assert items.whole() == [1, "two"]
    assert granted == [AHEAD, 1, 1]


@pytest.mark.parametrize(
    ("values", "status", "said"),
    [
        pytest.param([NONSENSE], HTTPStatus.INTERNAL_SERVER_ERROR, "cannot be read", id="no value"),
        pytest.param(
            [pack(bytes(WHOLE_LIMIT), None)], HTTPStatus.NOT_ACCEPTABLE, "sent as a stream", id="too much"
        ),
    ],
)
def test_what_cannot_be_part_of_an_answer_is_told_at_its_end_and_no_further_item_is_wanted(
    values, status, said
):
    items, granted = collected(pack(1, None), *values, pack(2, None))

    with pytest.raises(RequestError, match=said) as refused:
        items.whole()
    assert refused.value.status == status
    assert granted == [AHEAD, 1, 0, 0]
