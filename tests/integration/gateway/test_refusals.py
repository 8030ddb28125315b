"""What a gateway refuses, and that it says why; what served before serves on."""

from __future__ import annotations

import os
import tarfile
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

NAMES = ("Hello", "a.b", "-a", "a-", "a_b", "a/b", "", "ü", "x" * 64)
FAILING = """
import os
from regrain import App

if os.environ.get("OPENFAAS_NAME"):
    raise RuntimeError("no model here")
app = App("hello")

@app.stage()
def greet(name: str) -> str:
    return name

@app.flow
def hello(name: str) -> str:
    return greet(name)
"""


@pytest.fixture(scope="module")
def gateway(module_start_gateway):
    """A gateway whose builds reach no package index."""
    return module_start_gateway(PIP_NO_INDEX="1", PIP_CONFIG_FILE="/dev/null")


@pytest.fixture
def serving(gateway):
    """The same with a function that serves; afterwards it serves as before."""
    assert gateway.build("Old")["status"] == "success"
    gateway.deploy()
    gateway.ready()
    yield gateway
    assert gateway.invoke("hello", json={"name": "x"}).text == "Old x"


def test_names_that_are_no_dns_labels(gateway) -> None:
    for name in NAMES:
        wanted = {"service": name, "image": "functions/alpine", "envProcess": "cat"}
        elsewhere = {**wanted, "service": "a", "namespace": name or "A"}
        refused = [
            gateway.ask("POST", "/system/functions", json=wanted),
            gateway.ask("PUT", "/system/functions", json=wanted),
            gateway.ask("POST", "/system/functions", json=elsewhere),
            gateway.ask("POST", "/system/namespace/", json={"name": name}),
        ]
        assert [one.status_code for one in refused] == [400] * 4, name
        assert "service" in refused[0].text
        assert "namespace" in refused[2].text
    for name in ("a/b", "../key", "/etc/passwd", "", ".", "..", "a\0b"):
        refused = [
            gateway.ask(verb, "/system/secrets", json={"name": name, "value": "v"})
            for verb in ("POST", "PUT")
        ]
        assert {one.status_code for one in refused} == {400}, name

    assert "a" not in [one["name"] for one in gateway.ask("GET", "/system/functions").json()]
    assert gateway.ask("GET", "/system/secrets").json() == []
    assert gateway.ask("GET", "/system/namespaces").json() == ["openfaas-fn"]
    assert [path for path in (gateway.state / "secrets").rglob("*") if path.is_file()] == []


def test_functions_that_there_are_none_of(gateway) -> None:
    for name in ("nope", "nope.openfaas-fn", "nope.nowhere", "a%00b", "x" * 5000, "..", "%2e%2e/system/info"):
        connection = HTTPConnection(gateway.url.removeprefix("http://"), timeout=60)
        connection.request("POST", f"/function/{name}")
        assert connection.getresponse().status == 404, name
        connection.close()
    assert gateway.ask("GET", "/system/function/nope").status_code == 404
    assert gateway.ask("DELETE", "/system/functions", json={"functionName": "nope"}).status_code == 404


def test_an_image_that_was_not_built(serving) -> None:
    for image in ("other", "ghcr.io/openfaas/figlet:latest", "hello:2"):
        answer = serving.ask("PUT", "/system/functions", json={"service": "hello", "image": image})
        assert answer.status_code == 400
        assert f"{image} was not built here" in answer.text


@pytest.mark.parametrize(
    ("app", "said"),
    [
        pytest.param("import nothing_of_this_name", "nothing_of_this_name", id="import"),
        pytest.param("def (", "invalid syntax", id="syntax"),
        pytest.param("import os; os._exit(3)", "exit code 3", id="exit"),
        pytest.param("x = 1", "neither an App nor handle", id="no app"),
    ],
)
def test_a_handler_that_cannot_be_imported(serving, app: str, said: str) -> None:
    last = serving.build(app=app)

    assert last["status"] == "failed"
    assert said in str(last["error"]), last


def test_a_handler_that_fails_only_as_a_function_says_so(serving, until) -> None:
    assert serving.build(app=FAILING)["status"] == "success"
    serving.deploy()
    until(lambda: serving.status()["state"] == "failed", "the new version has failed")
    serving.deploy("alone")
    until(lambda: serving.status("alone")["state"] == "failed", "it has failed")
    refused = serving.invoke("alone", json={"name": "x"})

    status = serving.status()
    assert "no model here" in str(status["detail"])
    assert status["availableReplicas"] == 1
    assert refused.status_code == 503
    assert "no model here" in refused.text
    assert any("no model here" in line["text"] for line in serving.log("alone"))


def test_requirements_that_cannot_be_installed(serving) -> None:
    last = serving.build("New", requirements="regrain\nno-package-of-this-name==1.0\n")

    assert last["status"] == "failed"
    assert "no-package-of-this-name" in str(last["error"])


def test_archives_that_reach_out_or_blow_up(serving, tarred, context, greeting, until) -> None:
    link, hard, device, large = (tarfile.TarInfo(f"context/function/{name}") for name in "abcd")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    large.size = 1 << 40
    files = context(greeting("New"))
    many = [tarfile.TarInfo(f"context/function/{number}") for number in range(20_001)]
    sent = {
        "is no path below": tarred({**files, "context/../../../escaped": "x"}),
        "is no path": tarred({**files, "/escaped": "x"}),
        "links and devices": tarred(files, link),
        "links and devices are": tarred(files, hard),
        "neither a folder": tarred(files, device),
        "have more than": tarred(files, large),
        "more than 20000 files": tarred(files, *many),
        "no tar archive": b"x" * 4096,
        "holds no com.openfaas": tarred({"context/template.yml": "language: regrain\n"}),
    }
    for said, archive in sent.items():
        answer = serving.send(archive)
        assert answer.status_code == 200
        assert said in answer.text.splitlines()[-1], answer.text

    assert [folder for folder, _, files in os.walk(serving.state.parent) if "escaped" in files] == []
    assert not Path("/escaped").exists()
    until(lambda: not list((serving.state / "builds").glob("tmp*")), "what was sent is removed")


def test_builds_that_are_not_signed_with_the_key(serving, tarred, context, greeting) -> None:
    archive = tarred(context(greeting("New")))
    unsigned = serving.ask("POST", "/build", data=archive)
    forged = serving.send(archive, key=b"another key")
    garbage = serving.ask("POST", "/build", data=archive, headers={"X-Build-Signature": "sha256=\u00fc"})

    assert [one.status_code for one in (unsigned, forged, garbage)] == [401] * 3


def test_who_does_not_know_the_password(serving) -> None:
    asked = [("GET", "/system/functions"), ("POST", "/system/functions"), ("DELETE", "/system/functions")]
    asked += [("GET", "/system/secrets"), ("GET", "/system/logs?name=hello"), ("GET", "/ui/")]
    for auth in (("admin", "wrong"), ("", ""), None):
        for method, path in asked:
            answer = requests.request(method, serving.url + path, auth=auth, timeout=60)
            assert answer.status_code == 401, path
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="Restricted"'
            assert answer.text == "invalid credentials"
    assert serving.auth[1] not in serving.output
