from dataclasses import FrozenInstanceError

import pytest

from regrain.request import Request, Response
from regrain.wire.codec import pack, unpack


@pytest.mark.parametrize(
    "value",
    [
        Request(body=b"\x00", headers={"a": "b"}, method="PUT", query={"q": "1"}, path="/x"),
        Response(body=b"no", status=400, headers={"Content-Type": "text/plain"}),
    ],
    ids=["request", "response"],
)
def test_they_travel_between_stages(value):
    assert unpack(pack(value, None), None) == value


def test_they_are_values():
    with pytest.raises(FrozenInstanceError):
        Request().body = b""
    assert (Request().method, Request().path, Response().status) == ("POST", "/", 200)
