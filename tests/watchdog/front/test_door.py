import base64
from dataclasses import dataclass, field

import pytest

from regrain.errors import RequestError, SpecError
from regrain_watchdog.front.credentials import BASIC, BEARER, Key
from regrain_watchdog.front.door import Door

SECRET = "correct-horse-battery"
KEY = Key(SECRET, (BASIC, BEARER))
AUTHORIZED = {"authorization": "Basic " + base64.b64encode(f":{SECRET}".encode()).decode()}


@dataclass
class Asked:
    method: str = "GET"
    headers: dict = field(default_factory=dict)


def _status(door, method="GET", **headers):
    try:
        door.check(Asked(method, headers))
    except RequestError as error:
        return int(error.status)
    return 200


@pytest.mark.parametrize("host", ["localhost:8082", "127.0.0.1", "[::1]:8082"])
def test_on_loopback_who_names_loopback_comes_in(host):
    assert _status(Door(host="127.0.0.1"), host=host) == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[", ""])
def test_on_loopback_another_host_stays_out_even_with_a_key(host):
    assert _status(Door(host="127.0.0.1"), host=host) == 403
    assert _status(Door(host="127.0.0.1", key=KEY), host=host, **AUTHORIZED) == 403


def test_off_loopback_there_is_no_door_without_a_key():
    with pytest.raises(SpecError, match=r"without a key .* on loopback, not on 0\.0\.0\.0"):
        Door(host="0.0.0.0")


def test_off_loopback_the_key_opens_under_any_name():
    door = Door(host="0.0.0.0", key=KEY)

    assert _status(door, host="node-7:8082", **AUTHORIZED) == 200
    assert _status(door, host="node-7:8082") == 401
    assert _status(door, host="127.0.0.1") == 401


def test_with_a_key_it_is_asked_for_on_loopback_too():
    assert _status(Door(host="127.0.0.1", key=KEY), host="localhost") == 401


@pytest.mark.parametrize(
    ("method", "origin", "status"),
    [
        pytest.param("POST", "http://localhost:8082", 200, id="the page itself"),
        pytest.param("POST", "http://evil.example", 403, id="another site"),
        pytest.param("POST", "http://localhost:9999", 403, id="another port"),
        pytest.param("DELETE", "null", 403, id="a sandboxed page"),
        pytest.param("GET", "http://evil.example", 200, id="reading: the browser keeps the answer from it"),
        pytest.param("POST", "http://[", 403, id="no address"),
    ],
)
def test_changes_are_not_taken_from_another_sites_page(method, origin, status):
    assert _status(Door(host="127.0.0.1"), method, host="localhost:8082", origin=origin) == status


def test_without_a_key_a_callback_of_a_gateway_stays_out():
    told = {"host": "localhost", "x-function-status": "200"}

    assert _status(Door(host="127.0.0.1"), "POST", **told) == 403
    assert _status(Door(host="127.0.0.1", key=KEY), "POST", **told) == 401
    assert _status(Door(host="127.0.0.1", key=KEY), "POST", **told, **AUTHORIZED) == 200
