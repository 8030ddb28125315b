"""OpenFaaS: the REST API of its gateway, or of whatever speaks as it does."""

from __future__ import annotations

from typing import TypeVar, get_args
from urllib.parse import quote

import msgspec
from msgspec import Struct

from regrain_watchdog.platforms import declared
from regrain_watchdog.platforms.function import Function, Standing, State, label, replicas
from regrain_watchdog.platforms.gpu import Annotations
from regrain_watchdog.platforms.platform import NotThereError, Patience, PlatformError
from regrain_watchdog.platforms.rest import Answer, Credentials, Rest, brief

DONE = (200, 201, 202)
MISSING, CONFLICT = 404, 409
FUNCTIONS = "/system/functions"
READY = {"com.openfaas.ready.http.path": "/_/ready"}
"""Has OpenFaaS Pro ask whether a pod is ready; others look at its health alone."""
NAMESPACE = "openfaas-fn"
"""What functions are called under where no namespace is named."""
T = TypeVar("T")
STATES: dict[str, State] = {state: state for state in get_args(State)}
ROUNDS = 3
"""Times that a function is put, which others may create and remove meanwhile."""


class _Status(Struct, frozen=True, rename="camel"):
    """What a gateway tells of a function; `state` and `detail` by Regrain's own alone."""

    name: str
    image: str = ""
    namespace: str = ""
    replicas: int = 0
    available_replicas: int = 0
    state: str = ""
    detail: str = ""


class OpenFaas:
    """Functions behind an OpenFaaS gateway.

    Args:
        url: of the gateway, as `rest.address` gives it.
        credentials: of its administrator, None for none.
        namespace: of the functions, "" for the gateway's default one.
        patience: how long it may take.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        *,
        namespace: str = "",
        patience: Patience | None = None,
    ) -> None:
        self._rest = Rest(url, credentials, patience or Patience())
        self._namespace = namespace and label("namespace", namespace)
        self._query = {"namespace": self._namespace} if self._namespace else {}

    def manifests(self, function: Function) -> list[dict[str, object]]:
        """Return the request for a function; GPUs go as annotations, as faas-cli drops other wishes."""
        gpu = Annotations().declare(function.gpu).annotations if function.gpu else {}
        sent: dict[str, object] = {
            "service": function.name,
            "image": function.image,
            **self._query,
            "envVars": dict(function.environment),
            "constraints": [f"{name}={value}" for name, value in function.nodes.items()],
            "secrets": list(function.secrets),
            "labels": {**declared.autoscaling(function), **function.labels},
            "annotations": {**declared.SCRAPED, **READY, **function.annotations, **gpu},
            "requests": declared.resources(function),
            "readOnlyRootFilesystem": True,
        }
        return [{name: value for name, value in sent.items() if value}]

    def deploy(self, function: Function) -> None:
        """Put a function there: PUT where it is, POST where it is not."""
        sent = msgspec.json.encode(self.manifests(function)[0])
        for _ in range(ROUNDS):
            answer = self._rest.ask("PUT", FUNCTIONS, sent)
            if answer.status != MISSING:
                return self._done("PUT", FUNCTIONS, answer)
            answer = self._rest.ask("POST", FUNCTIONS, sent)
            if answer.status != CONFLICT:
                return self._done("POST", FUNCTIONS, answer)
        raise self._rest.refused("POST", FUNCTIONS, answer)

    def standing(self, name: str) -> Standing:
        """Return how a function does."""
        path = f"/system/function/{quote(label('name', name))}"
        answer = self._rest.ask("GET", path, query=self._query)
        if answer.status == MISSING:
            raise self._missing(name)
        return self._standing(self._decoded("GET", path, answer, _Status))

    def standings(self) -> list[Standing]:
        """Return how all functions of the namespace do."""
        answer = self._rest.ask("GET", FUNCTIONS, query=self._query)
        found = self._decoded("GET", FUNCTIONS, answer, list[_Status])
        return sorted(map(self._standing, found), key=lambda standing: standing.name)

    def scale(self, name: str, replicas_: int) -> None:
        """Want another number of replicas."""
        path = f"/system/scale-function/{quote(label('name', name))}"
        sent = {"serviceName": name, "replicas": replicas(replicas_), **self._query}
        answer = self._rest.ask("POST", path, msgspec.json.encode(sent))
        if answer.status == MISSING:
            raise self._missing(name)
        self._done("POST", path, answer)

    def remove(self, name: str) -> None:
        """Remove a function."""
        sent = msgspec.json.encode({"functionName": label("name", name), **self._query})
        answer = self._rest.ask("DELETE", FUNCTIONS, sent)
        if answer.status != MISSING:
            self._done("DELETE", FUNCTIONS, answer)
        elif answer.number == 1:  # else an earlier try has removed it
            raise self._missing(name)

    def close(self) -> None:
        """Give back the connections."""
        self._rest.close()

    def _done(self, method: str, path: str, answer: Answer) -> None:
        if answer.status not in DONE:
            raise self._rest.refused(method, path, answer)

    def _decoded(self, method: str, path: str, answer: Answer, kind: type[T]) -> T:
        self._done(method, path, answer)
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PlatformError(
                f"{self._rest.url} is no OpenFaaS gateway, by its answer to {path}: {error}"
            ) from error

    def _missing(self, name: str) -> NotThereError:
        return NotThereError(
            f"{self._rest.url} has no function {name} in namespace {self._namespace or NAMESPACE}"
        )

    def _standing(self, status: _Status) -> Standing:
        namespace = status.namespace or self._namespace or NAMESPACE
        return Standing(
            name=status.name,
            namespace=namespace,
            state=_state(status),
            image=status.image,
            replicas=status.replicas,
            available=status.available_replicas,
            url=f"{self._rest.url}/function/{status.name}.{namespace}",
            detail=brief(status.detail),
        )


def _state(status: _Status) -> State:
    if status.state in STATES:
        return STATES[status.state]
    if not status.replicas:
        return "zero"
    return "ready" if status.available_replicas else "starting"
