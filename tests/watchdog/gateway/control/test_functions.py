"""Functions over the REST contract: what clients send, and what they are answered."""

from __future__ import annotations

import re
from typing import Any

import pytest

from regrain_watchdog.gateway.spec import Standing

pytestmark = pytest.mark.process
HELLO = {"service": "hello", "image": "docker.io/hello:latest"}
NAMESPACE = "openfaas-fn"


def standing(**fields: Any) -> Standing:
    return Standing(**{"name": "hello", "namespace": NAMESPACE, "state": "ready", **fields})


def test_there_are_none_at_first(control):
    assert control.request("GET", "/system/functions").json() == []


def test_a_function_is_deployed_described_and_removed(control, front):
    assert control.request("PUT", "/system/functions", HELLO).text == "No such function: hello"
    assert control.request("PUT", "/system/functions", HELLO).status == 404
    assert front.changes == 0
    assert control.request("POST", "/system/functions", HELLO).status == 202
    assert control.request("PUT", "/system/functions", HELLO).status == 202
    assert front.changes == 2

    described = control.request("GET", "/system/function/hello")
    assert described.status == 200
    assert control.request("GET", "/system/functions").json() == [described.json()]

    assert control.request("DELETE", "/system/functions", {"functionName": "hello"}).status == 202
    assert front.changes == 3
    gone = control.request("DELETE", "/system/functions", {"functionName": "hello"})
    assert (gone.status, gone.text) == (404, "No existing function to remove")
    assert control.request("GET", "/system/function/hello").status == 404


def test_deploying_what_is_there_tells_the_client_so(control, front):
    assert control.request("POST", "/system/functions", HELLO).status == 202
    assert control.request("POST", "/system/functions", HELLO).status == 200
    assert front.changes == 2


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("functions/alpine:latest", "fork"),
        ("docker.io/functions/alpine", "fork"),
        ("docker.io/theaxer/redirector:latest", "redirect"),
    ],
)
def test_images_that_are_built_in_need_no_build(control, image, kind):
    assert control.request("POST", "/system/functions", {**HELLO, "image": image}).status == 202

    function = control.store.function("hello", NAMESPACE)
    assert function.image.kind == kind
    assert function.deployment.image == image


def test_what_was_not_sent_is_not_answered_but_for_what_clients_look_into(control, front):
    control.request("POST", "/system/functions", HELLO)

    status = control.request("GET", "/system/function/hello").json()

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", status.pop("createdAt"))
    assert status == {
        "name": "hello",
        "image": "docker.io/hello:latest",
        "namespace": NAMESPACE,
        "labels": {"faas_function": "hello"},
        "annotations": {},
        "replicas": 1,
    }


def test_what_was_sent_is_answered_as_it_was(control, front):
    sent = {
        "envProcess": "cat",
        "envVars": {"a": "b"},
        "constraints": ["x"],
        "annotations": {"topic": "t"},
        "limits": {"memory": "128Mi", "cpu": "250m"},
        "requests": {"memory": "64Mi"},
        "readOnlyRootFilesystem": True,
    }
    control.request("POST", "/system/functions", {**HELLO, **sent, "labels": {"a": "b"}})

    status = control.request("GET", "/system/function/hello").json()

    assert {name: status[name] for name in sent} == sent
    assert status["labels"] == {"a": "b", "faas_function": "hello"}


def test_how_it_does_is_what_the_front_says(control, front):
    control.request("POST", "/system/functions", HELLO)
    front.standings = [standing(replicas=3, available=2, invocations=41, cpu=125.0, memory=1 << 20)]

    status = control.request("GET", "/system/function/hello").json()
    used = control.request("GET", f"/system/function/hello?namespace={NAMESPACE}&usage=1").json()

    assert (status["replicas"], status["availableReplicas"], status["invocationCount"]) == (3, 2, 41)
    assert "usage" not in status
    assert used["usage"] == {"cpu": 125.0, "totalMemoryBytes": 1 << 20}


@pytest.mark.parametrize(
    ("serving", "tried", "state"),
    [(0, 0, "ready"), (1, 1, "starting"), (1, 2, "failed"), (2, 2, "ready")],
)
def test_while_an_older_version_serves_the_state_is_that_of_the_one_that_is_wanted(
    control, front, serving, tried, state
):
    control.request("POST", "/system/functions", HELLO)
    control.request("PUT", "/system/functions", HELLO)
    front.standings = [standing(replicas=1, available=1, serving=serving, tried=tried)]

    status = control.request("GET", "/system/function/hello").json()

    assert (status["state"], status["availableReplicas"]) == (state, 1)


def test_a_front_that_is_dead_costs_the_standing_and_nothing_else(control):
    assert control.request("POST", "/system/functions", HELLO).status == 202

    status = control.request("GET", "/system/function/hello").json()

    assert status["replicas"] == 1
    assert "availableReplicas" not in status


def test_it_is_scaled(control, front):
    control.request("POST", "/system/functions", {**HELLO, "labels": {"com.openfaas.scale.min": "2"}})
    assert control.request("GET", "/system/function/hello").json()["replicas"] == 2

    assert control.request("POST", "/system/scale-function/hello", {"replicas": 0}).status == 202

    assert "replicas" not in control.request("GET", "/system/function/hello").json()
    assert front.changes == 2


@pytest.mark.parametrize(
    ("name", "value", "status", "said"),
    [
        ("nope", {"replicas": 1}, 404, "No such function: nope"),
        ("hello", {"replicas": -1}, 400, "replicas: 0 or more"),
        ("hello", {"replicas": 10**6}, 400, "replicas: 0 to 1000"),
        ("hello", {"replicas": "two"}, 400, "replicas"),
        ("hello", {"replicas": 1, "namespace": "nope"}, 404, "No such function: hello"),
    ],
)
def test_a_scale_that_cannot_be_is_refused(control, name, value, status, said):
    control.request("POST", "/system/functions", HELLO)

    refused = control.request("POST", f"/system/scale-function/{name}", value)

    assert refused.status == status
    assert said in refused.text


def test_a_scale_may_name_its_namespace_in_the_query(control):
    control.request("POST", "/system/namespace/", {"name": "red"})
    control.request("POST", "/system/functions", {**HELLO, "namespace": "red"})

    scaled = control.request("POST", "/system/scale-function/hello?namespace=red", {"replicas": 3})

    assert scaled.status == 202
    assert control.request("GET", "/system/function/hello?namespace=red").json()["replicas"] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"service": "Hello"}, "service:"),
        ({"service": "a/b"}, "service:"),
        ({"image": ""}, "image:"),
        ({"image": "other:1"}, "image: other:1 was not built here"),
        ({"namespace": "nope"}, "there is no 'nope'; create it first"),
        ({"secrets": ["nope"]}, "there is no nope in namespace openfaas-fn"),
        ({"labels": {"com.openfaas.scale.min": "many"}}, "labels.com.openfaas.scale.min"),
        ({"limits": {"memory": "much"}}, "memory:"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(control, change, said):
    refused = control.request("POST", "/system/functions", {**HELLO, **change})

    assert refused.status == 400
    assert said in refused.text
    assert control.request("GET", "/system/functions").json() == []


def test_a_function_is_removed_from_the_namespace_that_the_query_names(control) -> None:
    control.request("POST", "/system/namespace/", {"name": "dev"})
    control.request("POST", "/system/functions", {**HELLO, "namespace": "dev"})

    removed = control.request("DELETE", "/system/functions?namespace=dev", {"functionName": "hello"})

    assert removed.status == 202
    assert control.request("GET", "/system/function/hello?namespace=dev").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_none_is_refused(control, method, body):
    refused = control.request(method, "/system/functions", body)

    assert refused.status == 400
    assert refused.text.startswith("the request body:")


def test_namespaces_keep_functions_apart(control, front):
    control.request("POST", "/system/namespace/", {"name": "red"})
    control.request("POST", "/system/functions", {**HELLO, "namespace": "red"})

    (status,) = control.request("GET", "/system/functions?namespace=red").json()

    assert status["namespace"] == "red"
    assert control.request("GET", f"/system/functions?namespace={NAMESPACE}").json() == []
    assert control.request("GET", "/system/functions?namespace=nope").status == 404
    assert control.request("GET", "/system/function/hello").status == 404
    assert control.request("DELETE", "/system/functions", {"functionName": "hello"}).status == 404


def alert(status: str, *names: str) -> dict[str, object]:
    return {"alerts": [{"status": status, "labels": {"function_name": name}} for name in names]}


def test_alerts_scale_up_and_their_end_scales_down(control):
    labels = {
        "com.openfaas.scale.min": "1",
        "com.openfaas.scale.max": "10",
        "com.openfaas.scale.factor": "40",
    }
    control.request("POST", "/system/functions", {**HELLO, "labels": labels})
    replicas = []

    for status in ("firing", "firing", "firing", "resolved"):
        assert control.request("POST", "/system/alert", alert(status, "hello", "gone.red")).status == 200
        replicas.append(control.request("GET", "/system/function/hello").json()["replicas"])

    assert replicas == [5, 9, 10, 1]


def test_an_alert_without_a_function_is_refused_and_those_beside_it_are_followed(control):
    control.request("POST", "/system/functions", HELLO)

    refused = control.request("POST", "/system/alert", alert("firing", "", "hello", "No.Function"))

    assert refused.status == 400
    assert refused.text.startswith("2 of 3 alerts name no function: serviceName: ")
    assert control.request("GET", "/system/function/hello").json()["replicas"] == 5


def test_the_end_of_an_alert_wakes_no_function_that_is_at_zero(control):
    control.request("POST", "/system/functions", HELLO)
    control.request("POST", "/system/scale-function/hello", {"replicas": 0})

    assert control.request("POST", "/system/alert", alert("resolved", "hello")).status == 200

    assert control.store.function("hello", NAMESPACE).replicas == 0


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"annotations": {"regrain.slo": "soon"}}, "REGRAIN_SLO (--slo): was 'soon'"),
        ({"labels": {"regrain.adapt": "perhaps"}}, "REGRAIN_ADAPT (--adapt): was 'perhaps'"),
        ({"annotations": {"regrain.slow": "1s"}}, "annotations.regrain.slow: a function has no such setting"),
        (
            {"labels": {"regrain.port": "80"}},
            "labels.regrain.port: a function has no such setting; there are slo,",
        ),
        ({"envVars": {"REGRAIN_MAX_BODY": "-1"}}, "REGRAIN_MAX_BODY (--max-body): was '-1'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_what_was_there_stays(control, wish, said):
    control.request("POST", "/system/functions", HELLO)

    refused = control.request("PUT", "/system/functions", {**HELLO, **wish})

    assert (refused.status, refused.text[: len(said)]) == (400, said)
    assert control.store.function("hello", NAMESPACE).generation == 1
