"""How an answer is shown, and who is asked for it."""

from urllib.parse import urlsplit

import msgspec
import pytest

from regrain_watchdog.cli.admin import Status
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


def test_a_redirect_is_shown_and_neither_key_goes_where_it_leads(regrain, stub, tmp_path, monkeypatch):
    app, other = stub(), stub()
    key = tmp_path / "key"
    key.write_text("a-secret-of-this-app-that-is-long-enough")
    key.chmod(0o600)
    for name in ("INVOCATION", "ADMIN"):
        monkeypatch.setenv(f"REGRAIN_{name}_KEY_FILE", str(key))
    status = Status(app="app", state="ready", grain="a", ports={"http": urlsplit(app.url).port})
    app.answers["/status"] = (200, {}, msgspec.json.encode(status))
    app.answers["/"] = (307, {"Location": f"{other.url}/", "Content-Type": "text/plain"}, b"over there")
    app.answers["/slow?limit=20"] = (302, {"Location": f"{other.url}/slow"}, b"")

    invoked = regrain("invoke", "hello", "--url", app.url)
    listed = regrain("slow", "--url", app.url)

    assert (invoked.code, invoked.out) == (0, "over there\n")
    assert invoked.err.startswith(f"307 to {other.url}/ in ")
    assert (listed.code, listed.err.count("\n")) == (1, 1)
    assert "answered 302" in listed.err
    assert all("X-Regrain-Key" in headers for _, headers in app.asked)
    assert other.asked == []
