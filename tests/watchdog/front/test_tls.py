"""The app's port as HTTPS, with a certificate made for the test by openssl."""

import asyncio
import http.client
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from regrain.errors import SpecError
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.listen import Listener, Tls
from regrain_watchdog.front.upstream.edge import Edge


class Echo:
    async def __rsgi__(self, scope, proto):
        proto.response_bytes(200, [], b"https")


class Waiting:
    """Answers nobody."""

    def __init__(self):
        self.entered, self.left = threading.Event(), threading.Event()

    async def __rsgi__(self, scope, proto):
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, its key, and that key with a passphrase."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian: apt-get install openssl)")
    folder = tmp_path_factory.mktemp("tls")
    cert, key, locked = (str(folder / name) for name in ("cert.pem", "key.pem", "locked.pem"))
    options = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl("req", "-x509", *curve, "-keyout", key, "-out", cert, *options)
    _openssl("ec", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)
    return cert, key, locked


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def secured(loop, files):
    listener = Listener(Echo(), "127.0.0.1", 0, tls=Tls(*files[:2]))
    loop.run(listener.start())
    yield listener
    loop.run(listener.stop(60.0))


def test_a_client_that_trusts_the_certificate_is_served(secured, files):
    context = ssl.create_default_context(cafile=files[0])
    connection = http.client.HTTPSConnection("127.0.0.1", secured.port, timeout=60, context=context)

    connection.request("GET", "/")

    assert connection.getresponse().read() == b"https"
    assert secured.url == f"https://127.0.0.1:{secured.port}"
    connection.close()


def test_plain_http_gets_no_answer_and_old_protocols_no_handshake(secured):
    with socket.create_connection(("127.0.0.1", secured.port), timeout=60) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP/")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", secured.port), timeout=60) as old,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(old)


@pytest.mark.parametrize(
    ("cert", "key", "setting", "reason"),
    [
        pytest.param("nowhere", 1, r"REGRAIN_TLS_CERT \(--tls-cert\): nowhere", "No such file", id="no cert"),
        pytest.param(0, "nowhere", r"REGRAIN_TLS_KEY \(--tls-key\): nowhere", "No such file", id="no key"),
        pytest.param(1, 1, "REGRAIN_TLS_CERT", "no certificate and its key", id="a key for a cert"),
        pytest.param(0, 0, "REGRAIN_TLS_KEY", "no certificate and its key", id="a cert for a key"),
        pytest.param(0, 2, "REGRAIN_TLS_KEY", "passphrase", id="a key that is locked"),
    ],
)
def test_wrong_files_are_refused_naming_the_setting(files, cert, key, setting, reason):
    paths = [files[name] if isinstance(name, int) else name for name in (cert, key)]

    with pytest.raises(SpecError, match=setting) as caught:
        Tls(*paths)

    assert reason in str(caught.value)


def test_an_upstream_s_port_refuses_a_locked_key_as_well(loop, files):
    cert, _, locked = files
    edge = Edge(Echo(), Config(port=0, tls_cert=cert, tls_key=locked))

    with pytest.raises(SpecError, match=r"REGRAIN_TLS_KEY \(--tls-key\): .*passphrase") as caught:
        loop.run(edge.start())

    assert locked in str(caught.value)


def test_a_caller_that_leaves_during_its_request_is_no_warning(loop, files, caplog):
    waiting = Waiting()
    listener = Listener(waiting, "127.0.0.1", 0, tls=Tls(*files[:2]))
    loop.run(listener.start())
    context = ssl.create_default_context(cafile=files[0])
    with (
        socket.create_connection(("127.0.0.1", listener.port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert waiting.entered.wait(60)
        secure.unwrap()

        assert waiting.left.wait(60)
    assert loop.run(listener.stop(60.0))
    assert caplog.messages == []
