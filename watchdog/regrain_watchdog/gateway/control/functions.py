"""Functions: deployed, listed, described, scaled and removed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from flask import Blueprint, Response, request
from msgspec import field
from msgspec.structs import replace

from regrain.errors import SpecError
from regrain_watchdog.gateway.control import answers
from regrain_watchdog.gateway.control.front import Front, Key
from regrain_watchdog.gateway.plane import wishes
from regrain_watchdog.gateway.spec import (
    BUILT_IN,
    Deletion,
    Deployment,
    Function,
    Image,
    Resources,
    Scale,
    Standing,
    State,
    Wire,
    image_name,
)
from regrain_watchdog.gateway.store import Store
from regrain_watchdog.policy.scale import MOST, Scaling

NAME_LABEL = "faas_function"


class Usage(Wire, frozen=True):
    """What a function uses: thousandths of a core, and bytes."""

    cpu: float = 0.0
    total_memory_bytes: float = 0.0


class Status(Wire, frozen=True):
    """A function as clients are told of it. `state` and `detail` are ours; other clients pass over them.

    Clients look into labels and annotations without asking whether there are any.
    """

    name: str
    image: str
    namespace: str
    created_at: datetime
    labels: dict[str, str]
    annotations: dict[str, str]
    env_process: str = ""
    env_vars: dict[str, str] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    limits: Resources | None = None
    requests: Resources | None = None
    read_only_root_filesystem: bool = False
    invocation_count: float = 0.0
    replicas: int = 0
    available_replicas: int = 0
    usage: Usage | None = None
    state: str = ""
    detail: str = ""

    @classmethod
    def of(cls, function: Function, standing: Standing | None, *, usage: bool = False) -> Status:
        """Join what is wanted of a function and how it does, if the front has told."""
        wanted = function.deployment
        fields = {
            name: getattr(wanted, name) for name in wanted.__struct_fields__ if name in cls.__struct_fields__
        }
        fields["labels"] = wanted.labels | {NAME_LABEL: wanted.service}
        created = datetime.fromtimestamp(int(function.created), UTC)
        if standing is None:
            return cls(**fields, name=wanted.service, created_at=created, replicas=function.replicas)
        return cls(
            **fields,
            name=wanted.service,
            created_at=created,
            invocation_count=standing.invocations,
            replicas=standing.replicas,
            available_replicas=standing.available,
            usage=Usage(cpu=standing.cpu, total_memory_bytes=standing.memory) if usage else None,
            state=_state(function, standing),
            detail=standing.detail,
        )


class Alert(Wire, frozen=True):
    """One alert; its label function_name is NAME or NAME.NAMESPACE."""

    status: str = ""
    labels: dict[str, str] = field(default_factory=dict)


class Alerts(Wire, frozen=True):
    """What Alertmanager's webhook sends."""

    status: str = ""
    alerts: tuple[Alert, ...] = ()


class Functions:
    """The routes of functions.

    Args:
        store: what is wanted of them.
        front: how they do.
    """

    def __init__(self, store: Store, front: Front) -> None:
        self._store = store
        self._front = front

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        made = Blueprint("functions", __name__)
        made.get("/system/functions")(self.listed)
        made.post("/system/functions")(self.deployed)
        made.put("/system/functions")(self.updated)
        made.delete("/system/functions")(self.removed)
        made.get("/system/function/<name>")(self.described)
        made.post("/system/scale-function/<name>")(self.scaled)
        made.post("/system/alert")(self.alerted)
        return made

    def listed(self) -> Response:
        """Answer with a namespace's functions."""
        namespace = answers.namespace()
        if self._store.namespace(namespace) is None:
            return answers.text(f"There is no namespace {namespace}", 404)
        return answers.json(statuses(self._store.functions(namespace), self._front.standings()))

    def described(self, name: str) -> Response:
        """Answer with one function."""
        namespace = answers.namespace()
        function = self._store.function(name, namespace)
        if function is None:
            return _none(name)
        standing = self._front.standings().get((namespace, name))
        return answers.json(Status.of(function, standing, usage=request.args.get("usage") == "1"))

    def deployed(self) -> Response:
        """Keep a function; 200 instead of 202 tells clients that it was there and is updated."""
        deployment = answers.sent(Deployment).validated()
        there = self._store.function(deployment.service, deployment.namespace) is not None
        self._put(deployment)
        return answers.text("") if there else answers.accepted()

    def updated(self) -> Response:
        """Keep a function in place of the one of its name."""
        deployment = answers.sent(Deployment).validated()
        if self._store.function(deployment.service, deployment.namespace) is None:
            return _none(deployment.service)
        self._put(deployment)
        return answers.accepted()

    def removed(self) -> Response:
        """Remove a function; its namespace is in the body or, as OpenFaaS' own client has it, in the query."""
        deletion = answers.sent(Deletion)
        deletion = replace(deletion, namespace=deletion.namespace or answers.namespace()).validated()
        if not self._store.remove(deletion.function_name, deletion.namespace):
            return answers.text("No existing function to remove", 404)
        self._front.changed()
        return answers.accepted()

    def scaled(self, name: str) -> Response:
        """Want another number of replicas."""
        scale = answers.sent(Scale)
        namespace = scale.namespace or answers.namespace()
        scale = replace(scale, service_name=name, namespace=namespace).validated()
        if scale.replicas > MOST:
            raise SpecError(f"replicas: 0 to {MOST}, was {scale.replicas}")
        if not self._store.scale(name, scale.namespace, scale.replicas):
            return _none(name)
        self._front.changed()
        return answers.accepted()

    def alerted(self) -> Response:
        """Scale the functions that Alertmanager names: up while an alert fires, down once it is resolved.

        Alerts that name none keep the others that came with them from nothing: they are told behind those.
        """
        sent = answers.sent(Alerts)
        standings = self._front.standings()
        wrong: list[SpecError] = []
        for alert in sent.alerts:
            try:
                self._alerted(alert, sent.status, standings)
            except SpecError as error:
                wrong.append(error)
        self._front.changed()
        if wrong:
            raise SpecError(f"{len(wrong)} of {len(sent.alerts)} alerts name no function: {wrong[0]}")
        return answers.text("")

    def _alerted(self, alert: Alert, status: str, standings: Mapping[Key, Standing]) -> None:
        name, _, namespace = alert.labels.get("function_name", "").partition(".")
        deployment = Scale(service_name=name, namespace=namespace).validated()
        function = self._store.function(name, deployment.namespace)
        if function is None:
            return
        firing = (alert.status or status) == "firing"
        if not firing and not function.replicas:
            return  # it stays at zero until a request comes
        scaling = Scaling.of(function.deployment.labels)
        standing = standings.get((deployment.namespace, name))
        replicas = standing.replicas if standing is not None else function.replicas
        wanted = scaling.alerted(replicas, firing=firing)
        self._store.scale(name, deployment.namespace, wanted)

    def _put(self, deployment: Deployment) -> None:
        wishes.check(deployment)  # who deploys is told what is wrong, and not who looks why nothing serves
        self._store.put(deployment, self._image(deployment))
        self._front.changed()

    def _image(self, deployment: Deployment) -> Image:
        image = self._store.image(deployment.image) or BUILT_IN.get(image_name(deployment.image))
        if image is None:
            known = ", ".join([*(one.name for one in self._store.images()), *BUILT_IN])
            raise SpecError(
                f"image: {deployment.image} was not built here; build it with faas-cli up --remote-builder. "
                f"There are: {known}"
            )
        return image


def statuses(
    functions: list[Function], standings: Mapping[Key, Standing], *, usage: bool = False
) -> list[Status]:
    """Return functions as clients are told of them, with what they use if that is wanted."""
    keys = [(one.deployment.namespace, one.deployment.service) for one in functions]
    return [Status.of(one, standings.get(key), usage=usage) for key, one in zip(keys, functions, strict=True)]


def _state(function: Function, standing: Standing) -> State:
    """Return a function's state: while an older version serves, that of the one that is wanted."""
    if not 0 < standing.serving < function.generation or standing.state != "ready":
        return standing.state
    return "failed" if standing.tried >= function.generation else "starting"


def _none(name: str) -> Response:
    return answers.text(f"No such function: {name}", 404)
