"""Knative: Services through the Kubernetes API."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from http import HTTPStatus
from typing import Any, TypeVar, cast

import httpx2
import msgspec
import yaml
from lightkube import Client, KubeConfig, codecs
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType
from msgspec import Struct, field

from regrain_watchdog.platforms import controller, knative_service
from regrain_watchdog.platforms.function import Function, Standing, State, label, replicas
from regrain_watchdog.platforms.gpu import Annotations, Way
from regrain_watchdog.platforms.knative_service import MANAGED, MAX, MIN
from regrain_watchdog.platforms.platform import NotThereError, Patience, PlatformError, UnavailableError
from regrain_watchdog.platforms.rest import PASSING, brief
from regrain_watchdog.platforms.transport import Bounded

T = TypeVar("T")
Service = create_namespaced_resource("serving.knative.dev", "v1", "Service", "services")
Revision = create_namespaced_resource("serving.knative.dev", "v1", "Revision", "revisions")
MANAGER = "regrain"
"""Under which name the API server notes what we have set."""


class _Condition(Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    conditions: tuple[_Condition, ...] = ()
    url: str = ""
    latest_ready_revision_name: str = ""
    actual_replicas: int = 0
    desired_replicas: int = 0


class _Metadata(Struct, frozen=True):
    name: str
    namespace: str = ""
    generation: int = 0
    uid: str = ""


class _Container(Struct, frozen=True):
    image: str = ""


class _PodSpec(Struct, frozen=True):
    containers: tuple[_Container, ...] = ()


class _About(Struct, frozen=True):
    annotations: dict[str, str] = field(default_factory=dict)


class _Template(Struct, frozen=True):
    metadata: _About = _About()
    spec: _PodSpec = _PodSpec()


class _Spec(Struct, frozen=True):
    template: _Template = _Template()


class _Object(Struct, frozen=True):
    """What is read of a Service or a Revision."""

    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


class Knative:
    """Functions as Services of Knative.

    Args:
        namespace: of the functions, "" for that of the configuration's context.
        way: how the cluster shares GPUs.
        patience: how long it may take.
        config: of the cluster; None for what kubectl would use (in a pod, that of its service account).
    """

    def __init__(
        self,
        *,
        namespace: str = "",
        way: Way | None = None,
        patience: Patience | None = None,
        config: KubeConfig | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._way = way or Annotations()
        self._named = namespace and label("namespace", namespace)
        self._config = config

    @cached_property
    def _client(self) -> Client:
        """The connection, which is made when something is asked."""
        try:
            return self._connected((self._config or KubeConfig.from_env()).get())
        except (
            ConfigError,
            AttributeError,
            KeyError,
            OSError,
            TypeError,
            ValueError,
            yaml.YAMLError,
        ) as error:
            raise PlatformError(f"no cluster is configured for Kubernetes: {error}") from error

    @property
    def _namespace(self) -> str:
        return str(self._client.namespace)

    @property
    def _where(self) -> str:
        return str(self._client.config.cluster.server)

    def _connected(self, config: SingleConfig | None) -> Client:
        if config is None or config.user is None:
            raise PlatformError("no cluster is configured for Kubernetes: the context has no user")
        trusted = verify_cluster(config.cluster, config.user, config.abs_file)
        return Client(
            config,
            namespace=self._named or None,
            timeout=httpx2.Timeout(self._patience.answer),
            field_manager=MANAGER,
            transport=Bounded(httpx2.HTTPTransport(verify=trusted), self._patience.answer),
        )

    def manifests(self, function: Function) -> list[dict[str, object]]:
        """Return a function's Service, and where its replicas run groups for each other, what controls them."""
        service = knative_service.service(function, self._way, self._named)
        return [service, *controller.manifests(function, self._named)]

    def deploy(self, function: Function) -> None:
        """Apply a function's Service; what others have set in it stays. What is beside it goes with it."""
        [service, *beside] = self.manifests(function)
        owner = self._ask(function.name, lambda: self._read(self._apply(service)))
        reference = {
            "apiVersion": knative_service.VERSION,
            "kind": knative_service.KIND,
            "name": function.name,
            "uid": owner.metadata.uid,
        }
        for manifest in beside:
            metadata = {**cast("dict[str, object]", manifest["metadata"]), "ownerReferences": [reference]}
            owned = {**manifest, "metadata": metadata}
            self._ask(function.name, partial(self._apply, owned))

    def standing(self, name: str) -> Standing:
        """Return how a function does."""
        return self._standing(self._get(name))

    def standings(self) -> list[Standing]:
        """Return how all functions do that Regrain has deployed to the namespace."""
        found = self._ask(
            "", lambda: [self._read(one) for one in self._client.list(Service, labels=dict(MANAGED))]
        )
        return [self._standing(one) for one in sorted(found, key=lambda one: one.metadata.name)]

    def scale(self, name: str, replicas_: int) -> None:
        """Keep at least so many replicas, and allow as many."""
        replicas(replicas_)
        most = self._get(name).spec.template.metadata.annotations.get(MAX, "0")
        wanted = {MIN: str(replicas_)}
        if most.isdigit() and 0 < int(most) < replicas_:
            wanted[MAX] = str(replicas_)
        patch = {"spec": {"template": {"metadata": {"annotations": wanted}}}}
        self._ask(name, lambda: self._client.patch(Service, name, patch, patch_type=PatchType.MERGE))

    def remove(self, name: str) -> None:
        """Remove a function."""
        label("name", name)
        tries = itertools.count()

        def remove() -> None:
            next(tries)
            self._client.delete(Service, name)

        try:
            self._ask(name, remove)
        except NotThereError:
            if next(tries) == 1:  # else an earlier try has removed it
                raise

    def close(self) -> None:
        """Give back the connections."""
        if "_client" in vars(self):
            self._client.close()

    def _apply(self, manifest: dict[str, object]) -> Any:  # noqa: ANN401 - of the kind that the manifest has
        return self._client.apply(codecs.from_dict(manifest), force=True)

    def _get(self, name: str) -> _Object:
        label("name", name)
        return self._ask(name, lambda: self._read(self._client.get(Service, name)))

    def _standing(self, found: _Object) -> Standing:
        status, revision = found.status, _Status()
        if status.latest_ready_revision_name:
            revision = self._revision(status.latest_ready_revision_name)
        state, detail = _state(found, revision)
        containers = found.spec.template.spec.containers
        return Standing(
            name=found.metadata.name,
            namespace=found.metadata.namespace or self._namespace,
            state=state,
            image=containers[0].image if containers else "",
            replicas=revision.desired_replicas,
            available=revision.actual_replicas,
            url=status.url,
            detail=detail,
        )

    def _revision(self, name: str) -> _Status:
        try:
            return self._ask(name, lambda: self._read(self._client.get(Revision, name))).status
        except NotThereError:  # it was replaced meanwhile
            return _Status()

    def _read(self, found: Mapping[str, Any]) -> _Object:
        return msgspec.convert(dict(found), _Object)

    def _ask(self, name: str, request: Callable[[], T]) -> T:
        return self._patience.ask(lambda: self._once(name, request))

    def _once(self, name: str, request: Callable[[], T]) -> T:
        try:
            return request()
        except ApiError as error:
            raise self._refused(name, error) from error
        except httpx2.HTTPStatusError as error:
            raise self._told(error.response.status_code, error.response.text) from error
        except httpx2.HTTPError as error:
            why = (
                "no answer in time"
                if isinstance(error, httpx2.TimeoutException)
                else brief(str(error)).lower()
            )
            raise UnavailableError(f"{self._where} does not answer: {why}") from error
        except ConfigError as error:
            raise PlatformError(f"no access to {self._where}: {error}") from error
        except (
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
            msgspec.MsgspecError,
        ) as error:
            raise PlatformError(
                f"{self._where} is no Kubernetes with Knative, by its answer: {brief(str(error))}"
            ) from error

    def _refused(self, name: str, error: ApiError) -> PlatformError:
        status = error.status
        code = status.code or error.response.status_code
        details = status.details
        if code == HTTPStatus.NOT_FOUND and name and details is not None and details.name == name:
            return NotThereError(f"{self._where} has no function {name} in namespace {self._namespace}")
        return self._told(code, status.message or "")

    def _told(self, code: int, message: str) -> PlatformError:
        what = f"{self._where} answered {code}: {brief(message) or 'it does not say why'}"
        passing = code in PASSING or code == HTTPStatus.CONFLICT
        return UnavailableError(what) if passing else PlatformError(what)


def _state(found: _Object, revision: _Status) -> tuple[State, str]:
    """Return a Service's state and why it is not ready; what was not looked at yet starts."""
    ready = next((one for one in found.status.conditions if one.type == "Ready"), None)
    if ready is None or found.status.observed_generation < found.metadata.generation:
        return "starting", ""
    told = brief(ready.message or ready.reason)
    if ready.status == "False":
        return "failed", told
    if ready.status != "True":
        return "starting", told
    return ("ready" if revision.desired_replicas or revision.actual_replicas else "zero"), ""
