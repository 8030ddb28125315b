"""How an answer is shown."""

import pytest

from regrain_watchdog.cli.invoke import formatted


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        pytest.param(b'{"a":[1,2]}', '{\n  "a": [\n    1,\n    2\n  ]\n}', id="JSON"),
        pytest.param(b'{"score": NaN}', '{"score": NaN}', id="what Python takes for JSON"),
        pytest.param(b"", "", id="nothing"),
        pytest.param(b'{"a": "\xff"}', '{"a": "\ufffd"}', id="no text"),
    ],
)
def test_json_is_put_on_lines_and_what_is_none_is_shown_as_it_came(body, shown):
    assert formatted(body) == shown
