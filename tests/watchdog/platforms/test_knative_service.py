"""Services of Knative, held against the shapes that Knative and Kubernetes take."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.platforms.function import Function
from regrain_watchdog.platforms.gpu import Annotations, Hami, Need, Replicas
from regrain_watchdog.platforms.knative_service import service

GIB = 1 << 30
SHAPE = json.loads((Path(__file__).parent / "knative_shapes" / "service.json").read_text())
HELLO = Function(name="hello", image="example.org/hello:1")
OCR = Function(
    name="ocr",
    image="example.org/ocr:1",
    environment={"REGRAIN_ADAPT": "on", "REGRAIN_PORT": "99"},
    labels={"team": "vision"},
    annotations={"regrain.slo": "0.8s"},
    secrets=("key", "other.key"),
    cpu=1.5,
    memory=2 * GIB,
    gpu=Need(share=0.25, memory=4 * GIB),
    nodes={"accelerator": "h200"},
    least=0,
    most=5,
    target=8,
    concurrency=16,
)
names = st.from_regex(r"[a-z][-a-z0-9]{0,20}[a-z0-9]", fullmatch=True)
functions = st.builds(
    Function,
    name=names,
    image=st.just("an/image"),
    environment=st.dictionaries(st.from_regex(r"REGRAIN_[A-Z]{1,8}", fullmatch=True), st.text(max_size=9)),
    secrets=st.lists(names, unique=True).map(tuple),
    cpu=st.floats(0, 64),
    memory=st.integers(0, 1 << 40),
    gpu=st.none() | st.builds(Need, share=st.floats(0.01, 0.5), memory=st.integers(1, 64 * GIB)),
    least=st.integers(0, 5),
    most=st.just(0) | st.integers(5, 9),
    target=st.integers(0, 100),
    concurrency=st.integers(0, 1000),
    protocol=st.sampled_from(["http", "grpc"]),
)


def container(manifest):
    [found] = manifest["spec"]["template"]["spec"]["containers"]
    return found


@given(functions, st.sampled_from([Annotations(), Hami(), Replicas(replicas=2, memory=140 * GIB)]))
def test_every_service_has_the_shape_that_knative_takes(function, way):
    jsonschema.validate(service(function, way, "apps"), SHAPE)


def test_the_shape_itself_refuses_what_knative_refuses():
    wrong = [
        {"hostNetwork": True},
        {"securityContext": {"fsGroup": 1}},
        {"automountServiceAccountToken": True},
        {"containerConcurrency": -1},
    ]
    for field in wrong:
        made = service(HELLO, Annotations(), "")
        made["spec"]["template"]["spec"] |= field
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(made, SHAPE)


@pytest.mark.skipif(
    "KNATIVE_SERVICE_CRD" not in os.environ,
    reason="KNATIVE_SERVICE_CRD names no file of Knative's own, config/core/300-resources/service.yaml",
)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_service_is_what_knatives_own_definition_takes(protocol):
    definition = yaml.safe_load(Path(os.environ["KNATIVE_SERVICE_CRD"]).read_text())
    shape = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    shape["properties"]["metadata"] = {"type": "object"}
    made = service(replace(OCR, protocol=protocol), Hami(), "apps")
    made["spec"]["template"]["metadata"] = {}  # of any shape, and named as an object without properties

    jsonschema.validate(made, closed(shape))


def closed(shape):
    """Return a schema of Kubernetes in which fields that are not named are refused, as its API server does."""
    if isinstance(shape, list):
        return [closed(each) for each in shape]
    if not isinstance(shape, dict):
        return shape
    found = {name: closed(each) for name, each in shape.items() if name != "x-kubernetes-int-or-string"}
    if shape.get("x-kubernetes-int-or-string"):
        found.pop("anyOf", None)
    kept = shape.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in shape
    named = isinstance(shape.get("properties"), dict) and shape.get("type") == "object"
    return {**found, "additionalProperties": False} if named and not kept else found


def test_the_whole_of_a_service():
    made = service(OCR, Hami(), "apps")
    template = made["spec"]["template"]

    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("ocr", "apps")
    assert made["metadata"]["labels"] == {"team": "vision", "app.kubernetes.io/managed-by": "regrain"}
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8081",
        "prometheus.io/path": "/metrics",
        "regrain.slo": "0.8s",
        "regrain.dev/gpu-share": "0.25",
        "regrain.dev/gpu-memory": "4294967296",
        "autoscaling.knative.dev/min-scale": "0",
        "autoscaling.knative.dev/max-scale": "5",
        "autoscaling.knative.dev/target": "8",
    }
    assert template["spec"]["containerConcurrency"] == 16
    assert template["spec"]["nodeSelector"] == {"accelerator": "h200"}
    assert container(made)["resources"] == {
        "requests": {"cpu": "1500m", "memory": "2048Mi"},
        "limits": {
            "nvidia.com/gpu": "1",
            "nvidia.com/gpucores": "25",
            "nvidia.com/gpumem": "4096",
            "nvidia.com/priority": "0",
        },
    }


def test_a_replica_has_no_privileges():
    assert container(service(HELLO, Annotations(), ""))["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod = service(HELLO, Annotations(), "")["spec"]["template"]["spec"]
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)


def test_http_is_served_on_the_port_that_knative_names_in_port():
    made = container(service(OCR, Annotations(), ""))
    environment = {one["name"]: one["value"] for one in made["env"]}

    assert made["ports"] == [{"name": "http1", "containerPort": 8080}]
    assert environment["REGRAIN_PORT"] == "8080"
    assert environment["REGRAIN_HOST"] == "0.0.0.0"
    assert "PORT" not in environment
    assert made["readinessProbe"]["httpGet"] == {"path": "/_/ready", "port": 8080}
    assert made["livenessProbe"]["httpGet"] == {"path": "/_/health", "port": 8080}


def test_a_function_may_say_where_its_pods_listen():
    """As in a cluster that has no IPv4."""
    made = container(service(replace(HELLO, environment={"REGRAIN_HOST": "::"}), Annotations(), ""))

    assert {"name": "REGRAIN_HOST", "value": "::"} in made["env"]


def test_grpc_is_served_as_h2c_and_probed_on_its_port():
    made = container(service(replace(OCR, protocol="grpc"), Annotations(), ""))
    environment = {one["name"]: one["value"] for one in made["env"]}

    assert made["ports"] == [{"name": "h2c", "containerPort": 9000}]
    assert environment["REGRAIN_GRPC_PORT"] == "9000"
    assert made["readinessProbe"]["grpc"] == {"port": 9000}
    assert made["livenessProbe"]["tcpSocket"] == {"port": 9000}


def test_secrets_are_files_and_nothing_else_can_be_written_but_tmp():
    made = service(OCR, Annotations(), "")
    volumes = made["spec"]["template"]["spec"]["volumes"]

    assert container(made)["volumeMounts"] == [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "secrets", "mountPath": "/var/openfaas/secrets", "readOnly": True},
    ]
    assert volumes == [
        {"name": "tmp", "emptyDir": {}},
        {
            "name": "secrets",
            "projected": {"sources": [{"secret": {"name": "key"}}, {"secret": {"name": "other.key"}}]},
        },
    ]


def test_mps_tightens_a_replica_of_the_device_plugin_by_variables():
    made = container(service(OCR, Replicas(replicas=2, memory=140 * GIB), ""))

    assert made["resources"]["limits"] == {"nvidia.com/gpu.shared": "1"}
    assert {"name": "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "value": "25"} in made["env"]


def test_a_gpu_that_cannot_be_declared_that_way_is_refused():
    with pytest.raises(SpecError, match="one of 8 replicas of a GPU"):
        service(OCR, Replicas(replicas=8, memory=140 * GIB), "")


@pytest.mark.process
@pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed"
)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_its_pods_are_kubernetes_own_without_an_unknown_field(tmp_path, protocol):
    """A revision is run as a Deployment of the same pod; what Knative adds to the pod's fields is taken off."""
    template = service(replace(OCR, protocol=protocol), Hami(), "apps")["spec"]["template"]
    del template["spec"]["containerConcurrency"]
    template["spec"]["containers"][0]["name"] = "user-container"
    labels = template["metadata"]["labels"]
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ocr"}, "spec": spec}

    validated(tmp_path / "deployment.yaml", msgspec.yaml.encode(deployment))


@pytest.mark.process
@pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed"
)
def test_the_role_in_the_docs_is_kubernetes_own(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "platforms.md").read_text()
    [block] = re.findall(r"```yaml\n(apiVersion: rbac.*?)```", text, re.DOTALL)

    validated(tmp_path / "role.yaml", block.encode())


def validated(path, content):
    path.write_bytes(content)
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
