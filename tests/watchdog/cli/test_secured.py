"""An app that asks for keys over TLS and logs accesses, reached by the verbs and by a plain client."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.process

APP = """
from regrain import App, context

app = App("secret", sample={"text": "a sample"})


@app.stage()
def tell(text: str) -> dict[str, str]:
    return dict(context().headers)


@app.flow
def main(text: str) -> dict[str, str]:
    return tell(text)
"""
INVOCATION, ADMIN = "key-of-the-callers", "key-of-the-operators"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Secured:
    process: subprocess.Popen[str]
    environment: dict[str, str]
    url: str
    admin: str
    cert: str

    def verb(self, *arguments: str, **changed: str | None) -> subprocess.CompletedProcess[str]:
        given = self.environment | changed
        environment = {name: text for name, text in given.items() if text is not None}
        command = [sys.executable, "-m", "regrain_watchdog.cli", *arguments]
        return subprocess.run(
            command, check=False, env=environment, capture_output=True, text=True, timeout=60
        )

    def end(self) -> str:
        """Stop it, and return what it logged."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=60)[1]


@pytest.fixture
def secured(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian: apt-get install openssl)")
    tmp_path.chmod(0o700)
    (tmp_path / "app.py").write_text(APP)
    files = {name: str(tmp_path / name) for name in ("cert", "key", "invocation", "admin")}
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", *curve, *names, "-keyout", files["key"], "-out", files["cert"]]
    subprocess.run(made, check=True, capture_output=True)
    for name, secret in (("invocation", INVOCATION), ("admin", ADMIN)):
        Path(files[name]).touch(mode=0o600)
        Path(files[name]).write_text(secret)
    environment = os.environ | {
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
        "REQUESTS_CA_BUNDLE": files["cert"],
        "REGRAIN_TLS_CERT": files["cert"],
        "REGRAIN_TLS_KEY": files["key"],
        "REGRAIN_INVOCATION_KEY_FILE": files["invocation"],
        "REGRAIN_ADMIN_KEY_FILE": files["admin"],
        "REGRAIN_ADMIN_HOST": "0.0.0.0",
        "REGRAIN_ACCESS_LOG": "json",
        "REGRAIN_TRACE_CONTEXT": "make",
        "REGRAIN_LOG_LEVEL": "warning",
        "REGRAIN_PORT": "0",
        "REGRAIN_METRICS_PORT": "0",
        "REGRAIN_GRPC_PORT": "off",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "regrain_watchdog.cli", "run", str(tmp_path / "app.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    said = ""
    while "admin on" not in said:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=60)[1]
        said += line
    url, admin = (re.search(rf"{name} on (http\S+?)[,\s]", said)[1] for name in ("secret", "admin"))
    yield Secured(process, environment, url, admin, files["cert"])
    process.kill()
    process.communicate(timeout=60)


def _get(url, **options):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=30, **options)


def test_the_verbs_know_the_keys_and_others_are_refused(secured):
    assert secured.url.startswith("https://")
    assert secured.verb("status").returncode == 0
    invoked = secured.verb("invoke", "--sample")
    assert invoked.returncode == 0, invoked.stderr
    refused = secured.verb("status", REGRAIN_ADMIN_KEY_FILE=None)
    assert refused.returncode != 0
    assert "the key is missing or wrong: REGRAIN_ADMIN_KEY_FILE names the file" in refused.stderr
    lacking = secured.verb("invoke", "--sample", REQUESTS_CA_BUNDLE="/nowhere.pem")
    assert lacking.returncode != 0
    assert "REQUESTS_CA_BUNDLE cannot be read: " in lacking.stderr
    assert "Traceback" not in lacking.stderr
    refused = secured.verb("invoke", "--sample", REGRAIN_INVOCATION_KEY_FILE=None)
    assert refused.returncode != 0
    assert "the key is missing or wrong: REGRAIN_INVOCATION_KEY_FILE names the file" in refused.stderr

    logged = [json.loads(line) for line in secured.end().splitlines() if line.startswith("{")]

    assert [line["status"] for line in logged if line["method"] == "POST"] == [200, 401]
    assert all(line["logger"] == "regrain.access" and line["trace_id"] for line in logged)
    assert not any(secret in json.dumps(logged) for secret in (INVOCATION, ADMIN))


def test_stages_get_the_trace_context_and_not_the_key(secured):
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"
    shown = {"Authorization": f"Bearer {INVOCATION}", "traceparent": parent}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(secured.url, json={"text": "x"}, headers=shown, verify=secured.cert, timeout=60)

    assert answer.json()["traceparent"] == parent
    assert "authorization" not in answer.json()


def test_a_browser_gets_the_live_page_by_a_password(secured):
    assert _get(secured.admin).status_code == 401
    assert _get(secured.admin, auth=("anyone", "a-wrong-password")).status_code == 401
    assert "text/html" in _get(secured.admin, auth=("anyone", ADMIN)).headers["Content-Type"]
    assert _get(f"{secured.url}/_/ready", verify=secured.cert).status_code == 200


def test_base64_of_a_key_is_in_no_log_either(secured):
    _get(secured.admin, auth=("anyone", ADMIN))

    logged = secured.end()

    assert base64.b64encode(f"anyone:{ADMIN}".encode()).decode() not in logged
