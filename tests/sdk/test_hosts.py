import pytest

from regrain.hosts import is_address, is_loopback, names_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_other_hosts(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("https://127.0.0.2", True),
        ("http://LOCALHOST:8080", True),
        ("http://0.0.0.0:8080", False),
        ("https://example.org/127.0.0.1", False),
        ("http://127.0.0.1.example.org", False),
        ("http://127.0.0.1@example.org", False),
        ("localhost:9000", True),
        ("[::1]:9000", True),
        ("127.0.0.1.example.org:9000", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_what_stays_on_this_machine(place, expected):
    assert names_loopback(place) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("192.0.2.1", True), ("fe80::1", True), ("example.org", False)],
)
def test_an_address_is_told_from_a_name(host, expected):
    assert is_address(host) is expected
