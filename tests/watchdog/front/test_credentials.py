import base64
import logging

import pytest

from regrain.errors import RequestError, SpecError
from regrain_watchdog.front.credentials import BASIC, BEARER, Key

SECRET = "correct-horse-battery"


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return file


def _basic(password):
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


def test_without_a_file_there_is_no_key():
    assert Key.load("", "admin_key_file") is None


def test_a_key_is_its_file_without_the_line_end(key_file, caplog):
    assert Key.load(str(key_file), "admin_key_file") == Key(SECRET)
    assert caplog.records == []


def test_a_file_that_others_may_read_is_warned_of(key_file, caplog):
    key_file.chmod(0o644)

    with caplog.at_level(logging.WARNING):
        Key.load(str(key_file), "admin_key_file")

    assert "mode is 644, wanted is 600" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "must hold a key", id="empty"),
        pytest.param(b"short", "16 to 4096", id="short"),
        pytest.param(b"two keys are too many", "must hold a key", id="blanks"),
        pytest.param(b"x" * 5000, "16 to 4096", id="long"),
        pytest.param("schlüssel-mit-umlaut".encode(), "visible ASCII", id="not ASCII"),
    ],
)
def test_a_file_that_holds_no_key_is_refused_naming_the_setting(key_file, content, reason):
    key_file.write_bytes(content)

    with pytest.raises(SpecError, match=r"REGRAIN_ADMIN_KEY_FILE \(--admin-key-file\)") as caught:
        Key.load(str(key_file), "admin_key_file")

    assert reason in str(caught.value)


def test_a_file_that_is_missing_is_refused_naming_it(tmp_path):
    with pytest.raises(SpecError, match=r"--invocation-key-file.*nowhere cannot be read: No such file"):
        Key.load(str(tmp_path / "nowhere"), "invocation_key_file")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"authorization": f"Bearer {SECRET}"}, id="bearer"),
        pytest.param({"authorization": f"bearer  {SECRET}"}, id="another spelling"),
        pytest.param({"x-regrain-key": SECRET}, id="own header"),
        pytest.param(
            {"x-regrain-key": SECRET, "authorization": "Bearer of-the-app"}, id="beside the app's own"
        ),
    ],
)
def test_who_shows_the_key_is_let_in(headers):
    Key(SECRET).check(headers)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"authorization": f"Bearer {SECRET}x"}, id="wrong"),
        pytest.param({"authorization": SECRET}, id="without a scheme"),
        pytest.param({"authorization": _basic(SECRET)}, id="basic where it is not taken"),
        pytest.param({"x-regrain-key": "schlüssel"}, id="not ASCII"),
        pytest.param({"authorization": "Basic %%%"}, id="no base64"),
    ],
)
def test_who_does_not_is_told_how_and_not_what_was_shown(headers):
    with pytest.raises(RequestError) as caught:
        Key(SECRET).check(headers)

    assert caught.value.status == 401
    assert caught.value.headers == {"www-authenticate": 'Bearer realm="regrain"'}
    assert "X-Regrain-Key" in caught.value.detail
    assert not any(text and text in caught.value.detail for text in headers.values())


@pytest.mark.parametrize("wrong", [_basic("wrong"), "Basic %%%", "Basic /w==", "Basic é"])
def test_browsers_show_it_as_a_password_where_that_is_taken(wrong):
    key = Key(SECRET, (BASIC, BEARER))

    key.check({"authorization": _basic(SECRET)})
    with pytest.raises(RequestError) as caught:
        key.check({"authorization": wrong})

    assert caught.value.headers["www-authenticate"].startswith('Basic realm="regrain", Bearer')


def test_those_who_serve_the_request_do_not_see_the_key():
    key = Key(SECRET)

    assert key.without({"authorization": f"Bearer {SECRET}", "accept": "*/*"}) == {"accept": "*/*"}
    assert key.without({"x-regrain-key": SECRET, "authorization": "Bearer other"}) == {
        "authorization": "Bearer other"
    }


def test_a_key_does_not_show_itself():
    assert SECRET not in repr(Key(SECRET))
