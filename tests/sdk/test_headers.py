"""Which headers of a stage's error go to its caller."""

import pytest

from regrain.headers import MOST, ROOM, sendable


def test_headers_go_with_their_names_in_lower_case():
    assert sendable({"Retry-After": "30", "WWW-Authenticate": 'Bearer realm="a b"'}) == {
        "retry-after": "30",
        "www-authenticate": 'Bearer realm="a b"',
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Content-Length", "3"),
        ("content-type", "text/html"),
        ("Transfer-Encoding", "chunked"),
        ("CONNECTION", "close"),
        ("Date", "now"),
        ("x-call-id", "of another"),
        ("x-a\r\nset-cookie", "b"),
        ("x-a:", "b"),
        ("", "b"),
        ("x-ä", "b"),
        ("x-a", "b\r\nset-cookie: c"),
        ("x-a", "b\0"),
        ("x-a", "half \ud83d"),
        ("x-a", "ä"),
        ("x-a", 3),
        (3, "b"),
        ("x-a", b"b"),
    ],
)
def test_what_is_the_fronts_or_no_header_is_left_out(name, text):
    assert sendable({name: text, "x-b": "goes"}) == {"x-b": "goes"}


@pytest.mark.parametrize("given", [None, [("x-a", "b")], "x-a: b", 3])
def test_what_is_no_dict_has_none(given):
    assert sendable(given) == {}


def test_number_and_size_are_bounded():
    assert len(sendable({f"x-{number}": "" for number in range(MOST + 1)})) == MOST
    assert sendable({"x-long": "a" * ROOM, "x-b": "goes"}) == {"x-b": "goes"}
    assert len(sendable({f"x-{number}": "a" * (ROOM // 3) for number in range(9)})) == 2
