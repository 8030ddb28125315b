"""What clients and the gateway's processes tell each other about functions, secrets and namespaces.

On the wire JSON with OpenFaaS' field names. A client's value is read by `loads`, and used once it is `validated()`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from regrain.errors import SpecError

DEFAULT_NAMESPACE = "openfaas-fn"
SECRET_SIZE = 1 << 20
"""Bytes of a secret at most, as in Kubernetes."""
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SECRET = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
VARIABLE = re.compile(r"[^=\x00]+")
QUANTITY = re.compile(r"(\d+(?:\.\d+)?|\.\d+)([a-zA-Z]*)")
DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6, "g": 10**9, "G": 10**9, "T": 10**12}
MEMORY_UNITS = DECIMAL | {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
"""Bytes by suffix. A lower-case m is Docker's; Kubernetes' thousandth of a byte is meant by nobody."""
CPU_UNITS = {"": 1000.0, "m": 1.0}
"""Thousandths of a core by suffix."""
MOST_MEMORY, MOST_CPU = float(1 << 60), 1e9
"""More bytes, and thousandths of a core, than there are anywhere; the kernel takes them."""

Kind = Literal["app", "http", "fork", "redirect", "wsgi"]
State = Literal["zero", "starting", "ready", "failed", "draining"]
Read = TypeVar("Read", bound=Struct)


class Wire(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """JSON with OpenFaaS' field names; what is empty is left out."""


class Resources(Wire, frozen=True):
    """What a function may use, or asks for: quantities such as 128Mi and 250m, kept as they were written."""

    memory: str = ""
    cpu: str = ""
    nvidia: str = field(default="", name="nvidia.com/gpu")
    amd: str = field(default="", name="amd.com/gpu")
    intel: str = field(default="", name="intel.com/gpu")

    def bytes(self) -> int:
        """Return the memory, 0 if none is named."""
        return round(_quantity("memory", self.memory, MEMORY_UNITS, MOST_MEMORY))

    def millicores(self) -> int:
        """Return the thousandths of a core, 0 if none are named."""
        return round(_quantity("cpu", self.cpu, CPU_UNITS, MOST_CPU))


class Deployment(Wire, frozen=True):
    """A function as a client wants it."""

    service: str = ""
    image: str = ""
    namespace: str = ""
    env_process: str = ""
    env_vars: dict[str, str] = {}
    constraints: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    limits: Resources | None = None
    requests: Resources | None = None
    read_only_root_filesystem: bool = False

    def validated(self) -> Deployment:
        """Return it with its namespace; SpecError names the field and what it may be."""
        namespace = namespaced(self.namespace)
        label("service", self.service)
        image_name(self.image)
        _all("envVars", self.env_vars, VARIABLE, "a name without = and NUL")
        _all("secrets", self.secrets, SECRET, "a DNS name")
        for name, value in self.env_vars.items():
            _no_nul(f"envVars.{name}", value)
        _no_nul("envProcess", self.env_process)
        for resources in (self.limits, self.requests):
            if resources is not None:
                resources.bytes()
                resources.millicores()
        return replace(self, namespace=namespace)


class Image(Wire, frozen=True):
    """What a function runs.

    name: as `image_name` gives it. folder: where its files are, "" for a built-in one.
    environment: the folder of its virtual environment, "" for the gateway's own.
    digest: of its files and its environment. built: when, in seconds since 1970.
    """

    name: str
    kind: Kind
    folder: str = ""
    environment: str = ""
    digest: str = ""
    built: float = 0.0


BUILT_IN = {
    image.name: image
    for image in (
        Image(name="functions/alpine", kind="fork"),
        Image(name="theaxer/redirector", kind="redirect"),
    )
}
"""Images that stand for what many stacks use for a try: a process per request, and a redirect."""


class Function(Wire, frozen=True):
    """A function as the gateway keeps it.

    image: what its image's name stood for when it was deployed.
    created: when it was first deployed, in seconds since 1970.
    generation: how often it has been deployed since.
    replicas: how many are wanted.
    """

    deployment: Deployment
    image: Image
    created: float
    generation: int = 1
    replicas: int = 1


class Secret(Wire, frozen=True):
    """A secret, as text or as bytes (base64 on the wire)."""

    name: str = ""
    namespace: str = ""
    value: str = ""
    raw_value: bytes = b""

    def content(self) -> bytes:
        """Return what a function reads."""
        return self.raw_value or self.value.encode()

    def validated(self) -> Secret:
        """Return it with its namespace; SpecError names the field and what it may be."""
        _all("name", [self.name], SECRET, "a DNS name")
        if len(self.content()) > SECRET_SIZE:
            raise SpecError(f"value: a secret has up to {SECRET_SIZE} bytes, was {len(self.content())}")
        return replace(self, namespace=namespaced(self.namespace))


class Scale(Wire, frozen=True):
    """How many replicas of a function a client wants."""

    service_name: str = ""
    replicas: int = 0
    namespace: str = ""

    def validated(self) -> Scale:
        """Return it with its namespace; SpecError names the field and what it may be."""
        label("serviceName", self.service_name)
        if self.replicas < 0:
            raise SpecError(f"replicas: 0 or more, was {self.replicas}")
        return replace(self, namespace=namespaced(self.namespace))


class Deletion(Wire, frozen=True):
    """Which function a client wants removed."""

    function_name: str = ""
    namespace: str = ""

    def validated(self) -> Deletion:
        """Return it with its namespace; SpecError names the field and what it may be."""
        label("functionName", self.function_name)
        return replace(self, namespace=namespaced(self.namespace))


class Namespace(Wire, frozen=True):
    """A namespace."""

    name: str = ""
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}

    def validated(self) -> Namespace:
        """Return it; SpecError names the field and what it may be."""
        label("name", self.name)
        return self


class Standing(Wire, frozen=True):
    """How a function does.

    replicas: how many there are. available: how many of them serve. invocations: since it was created.
    cpu: thousandths of a core, over the last seconds. memory: bytes. detail: why it is not ready, in a sentence.
    serving: the generation that serves, 0 for none. tried: the one whose start has ended last, well or not.
    """

    name: str
    namespace: str
    state: State
    replicas: int = 0
    available: int = 0
    invocations: int = 0
    cpu: float = 0.0
    memory: int = 0
    detail: str = ""
    serving: int = 0
    tried: int = 0


def loads(data: bytes, kind: type[Read]) -> Read:
    """Return a client's value; a null is as good as nothing. SpecError names the field and what it may be."""
    try:
        sent = msgspec.json.decode(data, type=dict[str, object])
        return msgspec.convert({name: value for name, value in sent.items() if value is not None}, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SpecError(f"the request body: {error}") from error


def namespaced(name: str) -> str:
    """Return a namespace, the default one for ""; SpecError if it can be none."""
    return label("namespace", name) if name else DEFAULT_NAMESPACE


def label(what: str, name: str) -> str:
    """Return a name of a function or a namespace; SpecError if it can be none."""
    if not LABEL.fullmatch(name):
        raise SpecError(
            f"{what}: up to 63 of a-z, 0-9 and hyphens, with a letter or digit at both ends; was {name!r}"
        )
    return name


def image_name(image: str) -> str:
    """Return an image's name as it is looked up: without docker.io/ and :latest. SpecError if it can be none."""
    name = image.removeprefix("docker.io/").removeprefix("library/").removesuffix(":latest")
    if not name or not name.isprintable() or " " in name:
        raise SpecError(f"image: a name such as registry/name:tag, was {image!r}")
    return name


def _quantity(what: str, text: str, units: Mapping[str, float], most: float) -> float:
    if not text:
        return 0.0
    found = QUANTITY.fullmatch(text)
    if found is None or found[2] not in units:
        allowed = ", ".join(unit for unit in units if unit)
        raise SpecError(f"{what}: a number with one of {allowed} or none behind it, was {text!r}")
    amount = float(found[1]) * units[found[2]]
    if amount > most:
        raise SpecError(f"{what}: more than there is anywhere, was {text[:40]!r}")
    return amount


def _all(what: str, names: Iterable[str], pattern: re.Pattern[str], allowed: str) -> None:
    for name in names:
        if not pattern.fullmatch(name):
            raise SpecError(f"{what}: {allowed}, was {name!r}")


def _no_nul(what: str, text: str) -> None:
    if "\x00" in text:
        raise SpecError(f"{what}: no NUL may be in it")
