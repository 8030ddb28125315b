"""What is Knative's own."""

import json
from dataclasses import replace

import pytest

from regrain.errors import SpecError
from regrain_watchdog.platforms.function import Function
from regrain_watchdog.platforms.gpu import Hami, Need
from regrain_watchdog.platforms.knative import Knative
from regrain_watchdog.platforms.platform import PlatformError, UnavailableError, wait

HELLO = Function(name="hello", image="an/image", most=2)


def annotations(cluster):
    return cluster.services["hello"]["spec"]["template"]["metadata"]["annotations"]


def test_a_service_is_applied_so_that_what_others_have_set_stays(cluster, knative):
    knative().deploy(HELLO)
    [asked] = cluster.asked

    assert (asked.method, asked.headers["content-type"]) == ("PATCH", "application/apply-patch+yaml")
    assert asked.query == {"fieldManager": ["regrain"], "force": ["true"]}


def test_a_controller_goes_with_the_service_that_owns_it(cluster, knative):
    function = replace(HELLO, secrets=("shared",), remote_key="shared")
    knative().deploy(function)
    owner = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "name": "hello",
        "uid": "uid-hello",
    }

    assert {path: one["metadata"]["ownerReferences"] for path, one in cluster.others.items()} == {
        "/api/v1/namespaces/apps/services/hello-pods": [owner],
        "/apis/apps/v1/namespaces/apps/deployments/hello-controller": [owner],
    }


def test_a_name_too_long_for_the_controllers_is_refused_before_anything_is_applied(cluster, knative):
    with pytest.raises(SpecError, match="up to 52 characters"):
        knative().deploy(replace(HELLO, name="h" * 53, secrets=("shared",), remote_key="shared"))
    assert not cluster.asked


def test_a_new_revision_is_waited_for_while_the_old_one_serves(cluster, knative):
    platform = knative()
    platform.deploy(HELLO)
    cluster.settle("hello")
    before = platform.standing("hello").state
    platform.deploy(replace(HELLO, image="another/image"))
    between = platform.standing("hello").state
    cluster.settle("hello")

    assert (before, between, platform.standing("hello").state) == ("ready", "starting", "ready")


@pytest.mark.parametrize(
    ("status", "state"), [("Unknown", "starting"), ("False", "failed"), ("True", "zero")]
)
def test_the_condition_ready_is_the_state(cluster, knative, status, state):
    platform = knative()
    platform.deploy(HELLO)
    cluster.say("hello", status, "Revision failed:\nimage not found\x1b[31m")
    standing = platform.standing("hello")

    assert standing.state == state
    assert standing.detail == ("" if status == "True" else "Revision failed: image not found[31m")


def test_waiting_ends_with_the_reason_of_a_failure(cluster, knative):
    platform = knative()
    platform.deploy(HELLO)
    cluster.say("hello", "False", "image not found")

    with pytest.raises(PlatformError, match="hello failed: image not found"):
        wait(platform, "hello", 60, print)


def test_scaling_raises_the_most_where_it_is_less(cluster, knative):
    platform = knative()
    platform.deploy(HELLO)
    seen = []
    for number in (1, 3):
        platform.scale("hello", number)
        told = annotations(cluster)
        seen.append((told["autoscaling.knative.dev/min-scale"], told["autoscaling.knative.dev/max-scale"]))

    assert seen == [("1", "2"), ("3", "3")]


def test_an_address_without_a_ready_revision_is_zero(cluster, knative):
    platform = knative()
    platform.deploy(HELLO)
    cluster.settle("hello")
    cluster.revisions.clear()

    assert platform.standing("hello").available == 0


def test_gpus_are_declared_in_the_clusters_way(cluster, knative):
    need = Need(share=0.5, memory=1 << 30)
    knative(way=Hami()).deploy(replace(HELLO, gpu=need))

    [pod] = cluster.services["hello"]["spec"]["template"]["spec"]["containers"]
    assert pod["resources"]["limits"]["nvidia.com/gpucores"] == "50"


def test_a_conflict_with_another_writer_is_tried_again(cluster, knative, fault):
    body = json.dumps({"kind": "Status", "code": 409, "message": "the object has been modified"}).encode()
    cluster.faults.append(fault(409, body, "application/json"))
    knative().deploy(HELLO)

    assert len(cluster.asked) == 2
    assert "hello" in cluster.services


def test_a_conflict_that_stays_is_told(cluster, knative, fault):
    body = json.dumps({"kind": "Status", "code": 409, "message": "the object has been modified"}).encode()
    cluster.faults += [fault(409, body, "application/json")] * 3

    with pytest.raises(UnavailableError, match="answered 409: the object has been modified"):
        knative().deploy(HELLO)


def test_a_cluster_without_knative_is_told(cluster, knative, fault):
    cluster.faults.append(fault(404, b"404 page not found\n"))

    with pytest.raises(PlatformError, match="answered 404: 404 page not found"):
        knative().standing("hello")


def test_a_namespace_that_is_not_there_is_told(cluster, knative, fault):
    status = {
        "kind": "Status",
        "code": 404,
        "message": 'namespaces "apps" not found',
        "details": {"name": "apps"},
    }
    cluster.faults.append(fault(404, json.dumps(status).encode(), "application/json"))

    with pytest.raises(PlatformError, match='answered 404: namespaces "apps" not found'):
        knative().deploy(HELLO)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="none"),
        pytest.param("clusters: [", id="no YAML"),
        pytest.param("a: 1\n", id="another file"),
        pytest.param("- 1\n", id="a list"),
        pytest.param("clusters: []\nusers: []\ncontexts: []\ncurrent-context: there\n", id="no such context"),
        pytest.param(
            "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: []\n"
            "contexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n",
            id="no user",
        ),
    ],
)
def test_no_cluster_is_configured(monkeypatch, tmp_path, text):
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))

    with pytest.raises(PlatformError, match="no cluster is configured for Kubernetes"):
        Knative().standings()
