"""The controller of groups on Kubernetes, held against Kubernetes' own schemas and the command that it runs."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import click
import msgspec
import pytest

from regrain.errors import SpecError
from regrain_watchdog.cli.controller import command
from regrain_watchdog.platforms.controller import manifests
from regrain_watchdog.platforms.function import Function

OCR = Function(
    name="ocr",
    image="example.org/ocr:1",
    environment={"REGRAIN_GRAIN": "decode | detect"},
    secrets=("shared",),
    remote_key="shared",
)


def controller(function=OCR):
    _, deployment = manifests(function, "apps")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return deployment, container


def test_replicas_that_do_not_know_each_other_have_none():
    assert manifests(Function(name="ocr", image="an/image"), "apps") == []


def test_it_runs_the_command_over_the_functions_pods_with_their_secret():
    _, container = controller()
    assert container["command"] == [
        "regrain",
        "controller",
        "--pods-of",
        "http://ocr-pods:8080",
        "--remote-key-file",
        "/var/openfaas/secrets/shared",
        "--grain",
        "decode | detect",
    ]


def test_the_command_takes_these_flags():
    _, container = controller()
    context = command.make_context("controller", container["command"][2:])

    assert isinstance(context, click.Context)
    assert context.params["pods_of"] == "http://ocr-pods:8080"


def test_it_adapts_where_the_function_is_to():
    deployment, container = controller(replace(OCR, annotations={"regrain.adapt": "on"}))
    assert container["command"][-1] == "--adapt"
    assert command.make_context("controller", container["command"][2:]).params["adapt"]
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "512Mi"}
    assert deployment["spec"]["replicas"] == 1


def test_there_is_never_more_than_one():
    deployment, _ = controller()
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})


def test_a_name_that_leaves_no_room_for_its_own_is_refused_before_anything_is_sent():
    [service, deployment] = manifests(replace(OCR, name="o" * 52), "apps")
    assert (len(service["metadata"]["name"]), len(deployment["metadata"]["name"])) == (57, 63)
    assert all(len(text) <= 63 for text in deployment["metadata"]["labels"].values())

    with pytest.raises(SpecError, match="name: up to 52 characters with --remote-key, was 'ooo"):
        manifests(replace(OCR, name="o" * 53), "apps")
    assert manifests(replace(OCR, name="o" * 63, remote_key=""), "apps") == []


def test_its_name_is_one_for_every_pod_of_the_function():
    service, _ = manifests(OCR, "apps")
    assert service["metadata"]["name"] == "ocr-pods"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"serving.knative.dev/service": "ocr"}


def test_it_has_no_privileges():
    deployment, container = controller()
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


@pytest.mark.process
@pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed"
)
def test_kubernetes_takes_it_without_an_unknown_field(tmp_path):
    path = tmp_path / "controller.yaml"
    path.write_bytes(b"---\n".join(map(msgspec.yaml.encode, manifests(OCR, "apps"))))
    done = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
