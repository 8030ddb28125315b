"""A function as a Knative Service (serving.knative.dev/v1). Pure.

One container with one port: HTTP (http1), or gRPC (h2c). It runs without root, privileges, capabilities and a writable
root, as Kubernetes' restricted standard asks; what it writes goes to /tmp. Knative sets PORT itself, to the port that
is named here, and refuses it as a variable.
"""

from __future__ import annotations

from regrain_watchdog.platforms import declared
from regrain_watchdog.platforms.function import Function
from regrain_watchdog.platforms.gpu import Declared, Way

VERSION, KIND = "serving.knative.dev/v1", "Service"
SCALING = "autoscaling.knative.dev/"
MIN, MAX, TARGET = f"{SCALING}min-scale", f"{SCALING}max-scale", f"{SCALING}target"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a pod, whose address is not known before
"""Where a pod listens unless its function says so: "::" where a cluster has IPv6 alone."""
MANAGED = {"app.kubernetes.io/managed-by": "regrain"}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def service(function: Function, way: Way, namespace: str) -> dict[str, object]:
    """Return a function's manifest; SpecError if a replica's GPU cannot be declared that way."""
    gpu = way.declare(function.gpu) if function.gpu else Declared()
    metadata: dict[str, object] = {
        "name": function.name,
        "labels": {**function.labels, **MANAGED},
        "annotations": dict(function.annotations),
    }
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": {
            "template": {
                "metadata": {
                    "labels": {**function.labels, **MANAGED},
                    "annotations": {
                        **declared.SCRAPED,
                        **function.annotations,
                        **gpu.annotations,
                        **scaling(function),
                    },
                },
                "spec": _pod(function, gpu),
            }
        },
    }


def scaling(function: Function) -> dict[str, str]:
    """Return the annotations that Knative's autoscaler reads."""
    found = {MIN: str(function.least)}
    if function.most:
        found[MAX] = str(function.most)
    if function.target:
        found[TARGET] = str(function.target)
    return found


def _pod(function: Function, gpu: Declared) -> dict[str, object]:
    volumes: list[dict[str, object]] = [{"name": "tmp", "emptyDir": {}}]
    if function.secrets:
        sources = [{"secret": {"name": name}} for name in function.secrets]
        volumes.append({"name": "secrets", "projected": {"sources": sources}})
    pod: dict[str, object] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containerConcurrency": function.concurrency,
        "containers": [_container(function, gpu)],
        "volumes": volumes,
    }
    if function.nodes:
        pod["nodeSelector"] = dict(function.nodes)
    return pod


def _container(function: Function, gpu: Declared) -> dict[str, object]:
    grpc = function.protocol == "grpc"
    mounts: list[dict[str, object]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - in a container
    if function.secrets:
        mounts.append({"name": "secrets", "mountPath": declared.SECRETS, "readOnly": True})
    ports = {
        "REGRAIN_PORT": declared.HTTP,
        "REGRAIN_METRICS_PORT": declared.METRICS,
        "REGRAIN_GRPC_PORT": declared.GRPC,
    }
    environment = {
        "REGRAIN_HOST": EVERYWHERE,
        **function.environment,
        **{name: str(port) for name, port in ports.items()},
        **gpu.environment,
    }
    container: dict[str, object] = {
        "image": function.image,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"name": "h2c", "containerPort": declared.GRPC}]
        if grpc
        else [{"name": "http1", "containerPort": declared.HTTP}],
        "readinessProbe": _ready(grpc=grpc),
        "livenessProbe": _lives(grpc=grpc),
        "securityContext": RESTRICTED,
        "volumeMounts": mounts,
    }
    resources = {"requests": declared.resources(function), "limits": dict(gpu.limits)}
    if any(resources.values()):
        container["resources"] = {name: value for name, value in resources.items() if value}
    return container


def _ready(*, grpc: bool) -> dict[str, object]:
    asked: dict[str, object] = (
        {"grpc": {"port": declared.GRPC}}
        if grpc
        else {"httpGet": {"path": "/_/ready", "port": declared.HTTP}}
    )
    return {**asked, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1}


def _lives(*, grpc: bool) -> dict[str, object]:
    """Return how it is seen to live. Older versions of Knative look at the one port alone, which may be gRPC's."""
    asked: dict[str, object] = (
        {"tcpSocket": {"port": declared.GRPC}}
        if grpc
        else {"httpGet": {"path": "/_/health", "port": declared.HTTP}}
    )
    return {
        **asked,
        "initialDelaySeconds": 10,
        "periodSeconds": 5,
        "timeoutSeconds": 2,
        "failureThreshold": 3,
    }
