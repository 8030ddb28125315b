"""A record is a line of JSON, whatever its fields hold."""

import json
import logging

import pytest

from regrain.lines import Json


class Mute:
    """What cannot be told."""

    def __str__(self) -> str:
        raise ValueError("no words")


ODD = [
    pytest.param("scan-\udcff.png", "scan-?.png", id="half a character"),
    pytest.param({"a\udcff": 2}, "{'a\\udcff': 2}", id="half a character in a key"),
    pytest.param(["a\ud800"], "['a\\ud800']", id="half a character in a list"),
    pytest.param(Mute(), "Mute", id="no text"),
]


@pytest.mark.parametrize(("value", "told"), ODD)
def test_a_field_that_json_cannot_hold_is_told_as_text_beside_the_others(value, told):
    record = logging.makeLogRecord({"msg": "read", "path": value, "sizes": {"all": [1, 2.5]}})

    line = json.loads(Json().format(record))

    assert (line["event"], line["path"], line["sizes"]) == ("read", told, {"all": [1, 2.5]})


def test_an_event_and_a_name_that_json_cannot_hold_are_told_with_replaced_characters():
    record = logging.makeLogRecord({"msg": "read %s", "args": ("\udcff",), "name\udcff": 1, 2: 3})

    line = json.loads(Json().format(record))

    assert (line["event"], line["name?"], line["2"]) == ("read ?", 1, 3)
