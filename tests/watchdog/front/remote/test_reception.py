"""What a pod receives of whom it does not know yet: little, until a signature says that it is one of the others."""

from __future__ import annotations

import pytest

from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.remote.line import Line, Terms
from regrain_watchdog.front.remote.reception import Reception

SECRET = "a secret of the pods"
LIMIT = 1 << 24
LARGE = 4 * wire.UNPROVEN
PATIENCE = 60.0
GROUP = f"{wire.PREFIX}/group"


class Guests:
    """Serves everybody."""

    def check(self, version, epoch):
        pass


@pytest.fixture
def client(listen):
    """Who asks a pod that takes frames of up to 16 MiB."""
    return listen(Reception(None, Guests(), None, secret=SECRET, limit=LIMIT, timeout=PATIENCE))


def head(nbytes, path=wire.PREFIX, **fields):
    named = {"host": "pod", "content-length": nbytes, wire.VERSION: "v", wire.EPOCH: 0, **fields}
    lines = [f"{name}: {text}" for name, text in named.items() if text is not None]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode()


def opening(nbytes, secret=SECRET, path=wire.PREFIX, epoch=0):
    return wire.opening(secret, "POST", path, nbytes, version="v", epoch=epoch)


def said(connection):
    """The first bytes of an answer, b"" where the connection ends without one."""
    return connection.recv(1 << 12)


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(None, id="nothing"),
        pytest.param("0" * 64, id="a guess"),
        pytest.param("ü", id="no signature"),
        pytest.param(opening(LARGE, secret="another"), id="another secret"),
        pytest.param(opening(LARGE + 1), id="another length"),
        pytest.param(opening(LARGE, path=f"{wire.PREFIX}/another"), id="another path"),
        pytest.param(opening(LARGE, epoch=1), id="another epoch"),
    ],
)
@pytest.mark.parametrize("path", [wire.PREFIX, GROUP, "/_/assign"])
def test_nothing_large_is_received_of_whoever_has_not_signed_its_length(client, shown, path):
    with client.connect() as connection:
        connection.sendall(head(LARGE, path, **{wire.OPENING: shown}))  # and no body: it is not waited for
        assert said(connection).startswith(b"HTTP/1.1 401 ")


def test_a_body_of_unknown_length_is_received_as_far_as_a_small_one(client):
    fields = {"transfer-encoding": "chunked", wire.OPENING: opening(LARGE)}
    with client.connect() as connection:
        connection.sendall(head(None, **fields) + b"%x\r\n" % LARGE + bytes(wire.UNPROVEN + 1))
        assert said(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("path", "status"), [(wire.PREFIX, 200), (GROUP, 400)]
)  # of zeros, which are no frame
def test_a_large_body_whose_length_is_signed_is_waited_for(client, path, status):
    body = bytes(LARGE)
    signed = wire.signature(SECRET, "POST", path, body, version="v", epoch=0)
    fields = {wire.OPENING: opening(LARGE, path=path), wire.SIGNATURE: signed}
    with client.connect() as connection:
        connection.sendall(head(LARGE, path, **fields))
        connection.sendall(body[:1])
        connection.sendall(body[1:])
        assert said(connection).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("path", [wire.PREFIX, GROUP])
def test_a_signed_length_is_no_signature_of_a_body(client, path):
    signed = opening(LARGE, path=path)
    with client.connect() as connection:
        connection.sendall(head(LARGE, path, **{wire.OPENING: signed, wire.SIGNATURE: signed}))
        connection.sendall(bytes(LARGE))
        assert said(connection).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("nbytes", [0, 1, wire.UNPROVEN, wire.UNPROVEN + 1, LARGE])
def test_frames_of_any_length_are_taken_of_another_pod(loop, client, nbytes):
    async def asked():
        terms = Terms(secret=SECRET, version="v", epoch=lambda: 0, limit=LIMIT)
        line = Line(f"http://127.0.0.1:{client.port}", terms)
        try:
            return await line.ask("POST", wire.PREFIX, bytes(nbytes), timeout=PATIENCE)
        finally:
            line.close()

    assert loop.run(asked()) == b""
