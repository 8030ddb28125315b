"""A request says by its headers how it is to be run later."""

from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace

import pytest

from regrain.errors import RequestError
from regrain_watchdog.gateway.later.call import Call
from regrain_watchdog.gateway.later.course import RETRIES


def read(**headers: str) -> Call:
    named = {"x-call-id": "one", **{name.replace("_", "-"): text for name, text in headers.items()}}
    scope = SimpleNamespace(method="PUT", path="/a b", query_string="q=1", headers=named)
    return Call.of("openfaas-fn", "hello", scope, b"hi")


def test_a_request_is_read() -> None:
    call = read(x_callback_url="https://example.org:81/a?b=c", x_retry_max=" 3 ")

    assert (call.id, call.method, call.path, call.query, call.body) == ("one", "PUT", "/a b", "q=1", b"hi")
    assert (call.callback, call.retries) == ("https://example.org:81/a?b=c", 3)
    assert (read().callback, read().retries) == ("", RETRIES)


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"x_callback_url": "ftp://example.org/"}, "X-Callback-Url: the URL must be like http"),
        ({"x_callback_url": "file:///etc/passwd"}, "X-Callback-Url: the URL must be like http"),
        ({"x_callback_url": "/function/a"}, "X-Callback-Url: the URL must be like http"),
        ({"x_callback_url": "http://example.org:99999/"}, "X-Callback-Url: "),
        ({"x_callback_url": "http://[::1/"}, "X-Callback-Url: "),
        ({"x_callback_url": "http://me:secret@example.org/"}, "X-Callback-Url: without user and password"),
        ({"x_callback_url": "http://example.org/a b"}, "X-Callback-Url: up to 2048 printable ASCII"),
        ({"x_callback_url": "http://example.org/\r\nHost: b"}, "X-Callback-Url: up to 2048 printable ASCII"),
        ({"x_callback_url": "http://example.org/" + "a" * 2048}, "X-Callback-Url: up to 2048"),
        ({"x_callback_url": "http://exämple.org/"}, "X-Callback-Url: up to 2048 printable ASCII"),
        ({"x_retry_max": "-1"}, "X-Retry-Max: a whole number from 0 to 100, was '-1'"),
        ({"x_retry_max": "101"}, "X-Retry-Max: a whole number from 0 to 100"),
        ({"x_retry_max": "many"}, "X-Retry-Max: a whole number from 0 to 100"),
        ({"x_retry_max": "0000000000500"}, "X-Retry-Max: a whole number from 0 to 100"),
        ({"x_call_id": "a" * 129}, "X-Call-Id: up to 128 printable ASCII"),
        ({"x_call_id": "a\x00"}, "X-Call-Id: up to 128 printable ASCII"),
    ],
)
def test_a_header_that_is_wrong_is_named(headers: dict[str, str], detail: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(**headers)

    assert caught.value.status is HTTPStatus.BAD_REQUEST
    assert caught.value.detail.startswith(detail)
