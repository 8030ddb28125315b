"""What is OpenFaaS' own."""

import pytest

from regrain.errors import SpecError
from regrain_watchdog.platforms.function import Function
from regrain_watchdog.platforms.gpu import Need
from regrain_watchdog.platforms.openfaas import OpenFaas
from regrain_watchdog.platforms.platform import PlatformError
from regrain_watchdog.platforms.rest import Credentials

HELLO = Function(name="hello", image="an/image")


def requests_of(provider):
    return [(one.method, one.path) for one in provider.asked]


def test_a_new_function_is_put_and_then_posted(gateway, openfaas):
    openfaas().deploy(HELLO)
    openfaas().deploy(HELLO)

    path = "/system/functions"
    assert requests_of(gateway) == [("PUT", path), ("POST", path), ("PUT", path)]


def test_a_function_that_comes_meanwhile_is_put_again(gateway, openfaas, fault):
    gateway.faults += [fault(404), fault(409, b"it is there")]
    openfaas().deploy(HELLO)

    assert [method for method, _ in requests_of(gateway)] == ["PUT", "POST", "PUT", "POST"]
    assert ("openfaas-fn", "hello") in gateway.functions


def test_a_function_that_is_there_though_the_answer_was_lost_is_put(gateway, openfaas, fault):
    gateway.faults += [fault(404), fault(500, done=True)]
    openfaas().deploy(HELLO)

    assert [method for method, _ in requests_of(gateway)] == ["PUT", "POST", "POST", "PUT"]
    assert ("openfaas-fn", "hello") in gateway.functions


def test_a_gateway_that_contradicts_itself_is_given_up(gateway, openfaas, fault):
    gateway.faults += [fault(404), fault(409, b"it is there")] * 3

    with pytest.raises(PlatformError, match="answered 409 to POST /system/functions: it is there"):
        openfaas().deploy(HELLO)
    assert len(gateway.asked) == 6


def test_a_namespace_is_named_in_every_request(gateway, openfaas):
    platform = openfaas(namespace="team")
    platform.deploy(HELLO)
    platform.scale("hello", 2)
    gateway.settle("hello", "team")
    standing = platform.standing("hello")
    [listed] = platform.standings()
    platform.remove("hello")

    assert (standing.namespace, standing.available, listed.name) == ("team", 2, "hello")
    assert standing.url == f"{gateway.url}/function/hello.team"
    assert openfaas().standings() == []
    assert not gateway.functions


def test_a_namespace_that_can_be_none():
    with pytest.raises(SpecError, match=r"namespace: up to 63 of .*; was 'Team/1'"):
        OpenFaas("http://127.0.0.1:1", None, namespace="Team/1")


@pytest.mark.parametrize("credentials", [None, Credentials("admin", "wrong"), Credentials("admin", "päss")])
def test_wrong_credentials_are_told_and_not_shown(gateway, credentials):
    platform = OpenFaas(gateway.url, credentials)
    with pytest.raises(PlatformError, match="refuses this user and password, or asks for one") as raised:
        platform.deploy(HELLO)
    platform.close()

    assert len(gateway.asked) == 1
    assert credentials is None or credentials.password not in str(raised.value) + repr(credentials)


def test_the_whole_of_a_function(gateway, openfaas):
    function = Function(
        name="ocr",
        image="example.org/ocr:1",
        environment={"REGRAIN_ADAPT": "on"},
        labels={"team": "vision"},
        annotations={"regrain.slo": "0.8s"},
        secrets=("key",),
        cpu=1.5,
        memory=(1 << 30) + 1,
        gpu=Need(share=0.25, memory=1 << 30),
        nodes={"accelerator": "h200"},
        least=0,
        most=5,
        target=8,
    )

    assert openfaas(namespace="team").manifests(function) == [
        {
            "service": "ocr",
            "image": "example.org/ocr:1",
            "namespace": "team",
            "envVars": {"REGRAIN_ADAPT": "on"},
            "constraints": ["accelerator=h200"],
            "secrets": ["key"],
            "labels": {
                "com.openfaas.scale.min": "1",
                "com.openfaas.scale.max": "5",
                "com.openfaas.scale.type": "capacity",
                "com.openfaas.scale.target": "8",
                "com.openfaas.scale.zero": "true",
                "team": "vision",
            },
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "8081",
                "prometheus.io/path": "/metrics",
                "com.openfaas.ready.http.path": "/_/ready",
                "regrain.slo": "0.8s",
                "regrain.dev/gpu-share": "0.25",
                "regrain.dev/gpu-memory": "1073741824",
            },
            "requests": {"cpu": "1500m", "memory": "1025Mi"},
            "readOnlyRootFilesystem": True,
        }
    ]


def test_a_gateway_that_tells_why_a_function_is_not_ready(gateway, openfaas):
    platform = openfaas()
    platform.deploy(HELLO)
    gateway.functions["openfaas-fn", "hello"] |= {"state": "failed", "detail": "it does\x1b[31m not\nstart"}
    standing = platform.standing("hello")

    assert (standing.state, standing.detail) == ("failed", "it does[31m not start")
