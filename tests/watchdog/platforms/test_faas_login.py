import base64

import pytest

from regrain.errors import SpecError
from regrain_watchdog.platforms.faas_login import file, load
from regrain_watchdog.platforms.rest import Credentials

GATEWAY = "http://127.0.0.1:8080"
TOKEN = base64.b64encode(b"admin:pass:word").decode()


@pytest.fixture
def config(tmp_path):
    """Write faas-cli's file and return the environment that names its folder."""

    def write(text: str) -> dict[str, str]:
        (tmp_path / "config.yml").write_text(text)
        return {"OPENFAAS_CONFIG": str(tmp_path)}

    return write


def login(gateway: str = GATEWAY, auth: str = "basic", token: str = TOKEN) -> str:
    return f"auths:\n- gateway: {gateway}\n  auth: {auth}\n  token: {token}\n  options: []\n"


@pytest.mark.parametrize("asked", [GATEWAY, GATEWAY + "/", "HTTP://127.0.0.1:8080"])
def test_the_login_of_a_gateway(config, asked):
    assert load(asked, config(login())) == Credentials("admin", "pass:word")


def test_another_gateways_login_is_not_sent(config):
    assert load("http://example.org", config(login())) is None


@pytest.mark.parametrize("text", ["{}\n", "auths:\n", "auths: []\n"])
def test_nobody_is_logged_in(config, text):
    assert load(GATEWAY, config(text)) is None


def test_there_is_no_file(tmp_path):
    assert load(GATEWAY, {"OPENFAAS_CONFIG": str(tmp_path / "nowhere")}) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("auths: [", "is no configuration of faas-cli", id="no YAML"),
        pytest.param("- 1\n", "is no configuration of faas-cli", id="a list"),
        pytest.param("auths: !!python/object/apply:os.getpid []\n", "is no configuration", id="a call"),
        pytest.param(login(auth="oauth2"), "is of kind 'oauth2'; only basic", id="another kind"),
        pytest.param(login(token="a.b.c"), "no user and password in base64", id="no base64"),
        pytest.param(
            login(token=base64.b64encode(b"admin").decode()), "no user and password", id="no password"
        ),
        pytest.param("#" * ((1 << 20) + 1), "is larger than 1048576 bytes", id="large"),
    ],
)
def test_a_file_that_is_of_no_use_is_named_without_what_it_holds(config, text, told):
    with pytest.raises(SpecError, match=told) as raised:
        load(GATEWAY, config(text))
    assert "config.yml" in str(raised.value)
    assert TOKEN not in str(raised.value)


def test_where_it_is(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(file({})) == "/home/someone/.openfaas/config.yml"
    assert str(file({"CI": "true"})) == ".openfaas/config.yml"
    assert str(file({"CI": "1", "OPENFAAS_CONFIG": "/etc/faas"})) == "/etc/faas/config.yml"
