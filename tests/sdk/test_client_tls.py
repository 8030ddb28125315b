"""The client and certificates: which ones it trusts, and what it says of others."""

import contextlib
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from regrain import Client, RequestError, SpecError


class Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"https")

    do_POST = do_GET  # noqa: N815 - as http.server calls it

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """On loopback, with TLS."""

    daemon_threads = True

    def __init__(self, context):
        super().__init__(("127.0.0.1", 0), Answering)
        self.context = context

    def finish_request(self, request, client_address):
        with (
            contextlib.suppress(OSError),  # of whoever does not trust it
            self.context.wrap_socket(request, server_side=True) as secured,
        ):
            super().finish_request(secured, client_address)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian: apt-get install openssl)")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = (str(folder / name) for name in ("cert.pem", "key.pem"))
    options = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made = ["openssl", "req", "-x509", *curve, "-keyout", key, "-out", cert, *options]
    subprocess.run(made, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def url(files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server = Server(context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_the_environment_names_is_trusted_on_loopback_too(url, files, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", files[0])

    with Client(url, timeout=60.0) as client:
        assert client.ready()
        assert client.invoke(b"x") == "https"


def test_a_certificate_that_is_not_trusted_is_told_as_such(url, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)

    with Client(url, timeout=60.0) as client, pytest.raises(RequestError) as caught:
        client.invoke(b"x")

    assert caught.value.status == 502
    assert caught.value.detail.startswith(f"no TLS with {url}: ")
    assert "certificate verify failed: self-signed certificate" in caught.value.detail
    assert caught.value.detail.endswith("; REQUESTS_CA_BUNDLE names the certificates to trust")


@pytest.mark.parametrize("content", [None, b"no certificate"], ids=["no file", "no certificate"])
def test_a_file_that_holds_no_certificates_is_told_by_its_variable(tmp_path, monkeypatch, content):
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))

    Client("http://127.0.0.1:8080").close()
    with pytest.raises(SpecError, match=r"REQUESTS_CA_BUNDLE: .*ca\.pem holds no certificates: "):
        Client("https://127.0.0.1:8443")


def test_a_file_of_certificates_that_has_gone_is_told_by_its_variable(tmp_path, url, files, monkeypatch):
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Path(files[0]).read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))

    with Client(url, timeout=60.0) as client:
        bundle.unlink()

        assert not client.ready()
        with pytest.raises(RequestError, match="REQUESTS_CA_BUNDLE: ") as caught:
            client.invoke(b"x")

    assert caught.value.status == 502
