"""The controller of a function's groups beside it on Kubernetes: one pod, and a name for the function's pods. Pure."""

from __future__ import annotations

from regrain.errors import SpecError
from regrain_watchdog.platforms import declared
from regrain_watchdog.platforms.function import Function
from regrain_watchdog.platforms.knative_service import MANAGED, RESTRICTED

CONTROLLER = "-controller"
LONGEST = 63
"""Characters of a name, and of what a label says, at most."""
ASKS = {"cpu": "100m", "memory": "128Mi"}
"""What it asks for: it looks at the pods once in a while."""
PLANS = {"cpu": "500m", "memory": "512Mi"}
"""What it asks for where it plans, too."""
TMP = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - in a container


def manifests(function: Function, namespace: str) -> list[dict[str, object]]:
    """Return a headless Service over a function's pods, and a Deployment of `regrain controller` that reads it.

    They are in the function's namespace, "" for the one of whoever applies them.
    SpecError where the function's name leaves no room for theirs.
    """
    if not function.remote_key:
        return []
    if len(_name(function)) > LONGEST:
        most = LONGEST - len(CONTROLLER)
        raise SpecError(f"name: up to {most} characters with --remote-key, was {function.name!r}")
    port = {"name": "http", "port": declared.HTTP}
    selected = {"serving.knative.dev/service": function.name}
    labels = {**MANAGED, "app.kubernetes.io/name": _name(function)}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(_pods(function), MANAGED, namespace),
            "spec": {"clusterIP": "None", "selector": selected, "ports": [port]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _metadata(_name(function), labels, namespace),
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod(function)},
            },
        },
    ]


def _pod(function: Function) -> dict[str, object]:
    grain = function.environment.get("REGRAIN_GRAIN", "")
    command = ["regrain", "controller", "--pods-of", f"http://{_pods(function)}:{declared.HTTP}"]
    command += ["--remote-key-file", declared.secret(function.remote_key)]
    adapts = function.annotations.get(declared.ADAPT) == "on"
    secret = {"name": "secrets", "mountPath": declared.SECRETS, "readOnly": True}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [
            {
                "name": "controller",
                "image": function.image,
                "command": [
                    *command,
                    *(["--grain", grain] if grain else []),
                    *(["--adapt"] if adapts else []),
                ],
                "resources": {"requests": PLANS if adapts else ASKS},
                "securityContext": RESTRICTED,
                "volumeMounts": [TMP, secret],
            }
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "secrets", "secret": {"secretName": function.remote_key}},
        ],
    }


def _metadata(name: str, labels: dict[str, str], namespace: str) -> dict[str, object]:
    found: dict[str, object] = {"name": name, "labels": labels}
    return {**found, "namespace": namespace} if namespace else found


def _pods(function: Function) -> str:
    return f"{function.name}-pods"


def _name(function: Function) -> str:
    return f"{function.name}{CONTROLLER}"
