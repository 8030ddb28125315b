"""Whom which password is shown: what is named, this machine's own, or what faas-cli has logged in with."""

import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

OWN, NAMED, LOGIN = "correct horse", "battery staple", "an old password"


def basic(password):
    return "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()


class Handler(BaseHTTPRequestHandler):
    """Keep what was shown, and have no functions for whoever shows anything."""

    def do_GET(self):
        shown = self.headers.get("authorization", "")
        self.server.shown.append(shown)
        body = b"[]" if shown else b"unauthorized"
        self.send_response(200 if shown else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def gateway():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.shown = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(regrain, gateway, monkeypatch, tmp_path):
    """Ask for the gateway's functions, where this machine's own keeps a password; 0.0.0.0 is no loopback address."""
    state, logins = tmp_path / "state", tmp_path / "faas"
    state.mkdir()
    logins.mkdir()
    (state / "basic-auth-password").write_text(OWN)
    monkeypatch.setenv("REGRAIN_GATEWAY_STATE", str(state))
    monkeypatch.setenv("OPENFAAS_CONFIG", str(logins))
    monkeypatch.setenv("NO_PROXY", "*")

    def ask(*flags, host="127.0.0.1", platform="local", has_login=False):
        url = f"http://{host}:{gateway.server_address[1]}"
        if has_login:
            token = base64.b64encode(f"admin:{LOGIN}".encode()).decode()
            auths = f"auths:\n- gateway: {url}\n  auth: basic\n  token: {token}\n"
            (logins / "config.yml").write_text(auths)
        return regrain("status", "--platform", platform, "--gateway", url, *flags)

    return ask


@pytest.fixture
def named(tmp_path):
    (tmp_path / "password").write_text(f"{NAMED}\n")
    return ["--user", "admin", "--password-file", str(tmp_path / "password")]


def test_this_machines_own_password_stays_on_this_machine(ask, gateway):
    told = ask(host="0.0.0.0")

    assert gateway.shown == [""]
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "refuses this user and password, or asks for one" in told.err


def test_this_machines_own_gateway_is_shown_its_password(ask, gateway):
    told = ask()

    assert gateway.shown == [basic(OWN)]
    assert (told.code, told.err) == (0, "")


def test_a_login_of_faas_cli_is_not_what_this_machines_own_gateway_is_shown(ask, gateway):
    assert ask(has_login=True).code == 0
    assert gateway.shown == [basic(OWN)]


def test_what_is_named_goes_before_all(ask, gateway, named):
    assert ask(*named, has_login=True).code == 0
    assert gateway.shown == [basic(NAMED)]


def test_another_platforms_gateway_is_shown_the_login_of_faas_cli(ask, gateway):
    assert ask(platform="openfaas", has_login=True).code == 0
    assert gateway.shown == [basic(LOGIN)]


@pytest.mark.parametrize("platform", ["local", "openfaas"])
@pytest.mark.parametrize("is_named", [True, False])
def test_every_password_that_can_be_read_on_its_way_is_told(ask, gateway, named, platform, is_named):
    told = ask(*(named if is_named else []), host="0.0.0.0", platform=platform, has_login=not is_named)

    assert gateway.shown == [basic(NAMED if is_named else LOGIN)]
    assert "is no https: the password can be read on its way" in told.err
    assert told.err.count("\n") == 1
