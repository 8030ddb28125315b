"""Tables on stdout."""

import pytest

from regrain_watchdog.cli import tables


@pytest.mark.parametrize(
    "text", ["http://[fd00::7]:31112/function/ocr", "http://[fd00:a:b::7]:8080", "[bold]"]
)
def test_a_text_is_shown_as_it_is(capsys, text):
    made = tables.table("address", whole=("address",))
    made.add_row(text)

    tables.show(made)

    assert capsys.readouterr().out.split() == ["address", text]
