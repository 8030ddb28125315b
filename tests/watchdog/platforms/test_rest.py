import pytest

from regrain.errors import SpecError
from regrain_watchdog.platforms.rest import address, is_open


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://example.org/openfaas/", "https://example.org/openfaas"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address(written, meant):
    assert address(written) == meant


@pytest.mark.parametrize("written", ["ftp://example.org", "http://", "", "file:///etc/passwd"])
def test_what_is_no_address(written):
    with pytest.raises(SpecError, match="--gateway: http:// or https:// and a host"):
        address(written)


@pytest.mark.parametrize(
    "written", ["http://[::1", "http://example.org:port", "http://example.org:65536", "admin:secret"]
)
def test_an_address_that_cannot_be_read_is_refused_and_not_repeated(written):
    with pytest.raises(SpecError, match="--gateway: http:// or https:// and a host") as raised:
        address(written)
    assert written not in str(raised.value)


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(SpecError, match=r"no user or password in the address of example\.org") as raised:
        address("https://admin:secret@example.org")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "open_"),
    [
        ("http://127.0.0.1:8080", False),
        ("http://localhost", False),
        ("http://[::1]:8080", False),
        ("https://example.org", False),
        ("http://example.org", True),
        ("http://10.0.0.1", True),
    ],
)
def test_what_can_be_read_on_its_way(url, open_):
    assert is_open(url) is open_
