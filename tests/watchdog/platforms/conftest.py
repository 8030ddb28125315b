"""Providers that speak as OpenFaaS' gateway and as a Kubernetes with Knative do, over HTTP, and can be told to fail."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from lightkube import KubeConfig
from lightkube.config.models import Cluster, User

from regrain_watchdog.platforms.knative import Knative
from regrain_watchdog.platforms.local import Local, Source
from regrain_watchdog.platforms.openfaas import OpenFaas
from regrain_watchdog.platforms.platform import Patience, Platform
from regrain_watchdog.platforms.rest import Credentials

SECRET = "correct horse"
KEY = b"payload key\n"
PATIENCE = Patience(answer=60.0, tries=3, pause=0.001)
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Fault:
    """What is answered in place of what was asked; status 0: nothing, until the provider ends.

    done: what was asked is done all the same.
    """

    status: int
    body: bytes = b""
    kind: str = "text/plain"
    location: str = ""
    endless: bool = False
    done: bool = False


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)


@dataclass
class Provider:
    """A server; `faults` are answered first, in turn."""

    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def answer(self, asked: Asked) -> tuple[int, bytes, str]:
        raise NotImplementedError

    def times_asked(self, least: int) -> int:
        """How often it was asked, once that is so often: who is impatient may have left before it saw the question."""
        end = time.monotonic() + PATIENCE.answer
        while len(self.asked) < least and time.monotonic() < end:
            time.sleep(0.01)
        return len(self.asked)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        with Server(("127.0.0.1", 0), type("Bound", (Handler,), {"provider": self})) as server:
            self.url = f"http://127.0.0.1:{server.server_address[1]}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield
            self.ended.set()
            server.shutdown()
            thread.join()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client may leave."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: Provider

    def do_GET(self) -> None:
        self.reply()

    def do_POST(self) -> None:
        self.reply()

    def do_PUT(self) -> None:
        self.reply()

    def do_PATCH(self) -> None:
        self.reply()

    def do_DELETE(self) -> None:
        self.reply()

    def reply(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): text for name, text in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        asked = Asked(self.command, parts.path, parse_qs(parts.query), headers, body)
        self.provider.asked.append(asked)
        if self.provider.faults:
            fault = self.provider.faults.pop(0)
            if fault.done:
                self.provider.answer(asked)
            self.fail(fault)
        else:
            self.tell(*self.provider.answer(asked))

    def fail(self, fault: Fault) -> None:
        if not fault.status:
            self.provider.ended.wait()
            self.close_connection = True
        elif fault.endless:
            self.drip(fault)
        else:
            self.tell(fault.status, fault.body, fault.kind, fault.location)

    def drip(self, fault: Fault) -> None:
        """Send what never ends, a byte at a time."""
        self.close_connection = True
        self.send_response(fault.status)
        self.send_header("content-type", fault.kind)
        self.send_header("content-length", "1000000")
        self.end_headers()
        while not self.provider.ended.wait(0.02):
            self.wfile.write(b" ")

    def tell(self, status: int, body: bytes, kind: str, location: str = "") -> None:
        """Answer in chunks, in one write."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        if location:
            self.send_header("location", location)
        self.end_headers()
        pieces = [piece for piece in (body[:7], body[7:]) if piece] + [b""]
        self.wfile.write(b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces))

    def log_message(self, *_: object) -> None:
        pass


def _told(value: object, status: int = 200) -> tuple[int, bytes, str]:
    return status, json.dumps(value).encode(), "application/json"


def _said(sentence: str, status: int) -> tuple[int, bytes, str]:
    return status, sentence.encode(), "text/plain"


@dataclass
class Gateway(Provider):
    """OpenFaaS' contract, and the remote builder's; namespaces "" and openfaas-fn are one."""

    functions: dict[tuple[str, str], dict] = field(default_factory=dict)
    built: list[dict[str, bytes]] = field(default_factory=list)

    def settle(self, name: str, namespace: str = "openfaas-fn") -> None:
        function = self.functions[namespace, name]
        function["availableReplicas"] = function["replicas"]

    def answer(self, asked: Asked) -> tuple[int, bytes, str]:
        if asked.path == "/build":
            return self._build(asked)
        token = "Basic " + base64.b64encode(f"admin:{SECRET}".encode()).decode()
        if asked.headers.get("authorization") != token:
            return _said("invalid credentials", 401)
        sent = asked.json() if asked.body else {}
        namespace = sent.get("namespace") or asked.query.get("namespace", [""])[0] or "openfaas-fn"
        name = sent.get("service") or sent.get("functionName") or asked.path.rpartition("/")[2]
        if asked.method == "GET" and asked.path == "/system/functions":
            return _told([one for (place, _), one in self.functions.items() if place == namespace])
        there = self.functions.get((namespace, name))
        if asked.method == "POST" and asked.path == "/system/functions":
            return self._put(sent, namespace) if there is None else _said("it is there", 409)
        if there is None:
            return _said(f"No such function: {name}", 404)
        return self._changed(asked, sent, there)

    def _changed(self, asked: Asked, sent: dict, there: dict) -> tuple[int, bytes, str]:
        if asked.method == "GET":
            return _told(there)
        if asked.method == "PUT":
            return self._put(sent, there["namespace"])
        if asked.method == "DELETE":
            del self.functions[there["namespace"], there["name"]]
        else:
            there |= {"replicas": sent["replicas"], "availableReplicas": 0}
        return _said("", 202)

    def _put(self, sent: dict, namespace: str) -> tuple[int, bytes, str]:
        kept = {"name": sent["service"], "namespace": namespace, "replicas": 1, "availableReplicas": 0}
        self.functions[namespace, sent["service"]] = {**sent, **kept}
        return _said("", 202)

    def _build(self, asked: Asked) -> tuple[int, bytes, str]:
        digest = hmac.new(KEY.strip(), asked.body, hashlib.sha256).hexdigest()
        if asked.headers.get("x-build-signature") != f"sha256={digest}":
            return _said("X-Build-Signature is missing", 401)
        with tarfile.open(fileobj=io.BytesIO(asked.body)) as tar:
            self.built.append({one.name: tar.extractfile(one).read() for one in tar})
        lines = [{"log": ["one step"], "status": "in_progress"}, {"image": "hello", "status": "success"}]
        return 200, "".join(json.dumps(line) + "\n" for line in lines).encode(), "application/x-ndjson"


@dataclass
class Cluster_(Provider):  # noqa: N801 - lightkube has a Cluster
    """A Kubernetes API that keeps Services of Knative and says of each how it does."""

    services: dict[str, dict] = field(default_factory=dict)
    revisions: dict[str, dict] = field(default_factory=dict)
    others: dict[str, dict] = field(default_factory=dict)

    def settle(self, name: str) -> None:
        """Have what was asked for be there: a revision, with its pods."""
        service = self.services[name]
        least = int(
            service["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/min-scale"]
        )
        revision = f"{name}-0000{service['metadata']['generation']}"
        pods = {"actualReplicas": least, "desiredReplicas": least}
        self.revisions[revision] = {"metadata": {"name": revision}, "status": pods}
        self.say(name, "True", latestReadyRevisionName=revision, url=f"http://{name}.apps.example.com")

    def say(self, name: str, ready: str, message: str = "", **status: object) -> None:
        service = self.services[name]
        condition = {"type": "Ready", "status": ready, "message": message}
        observed = {"observedGeneration": service["metadata"]["generation"], "conditions": [condition]}
        service["status"] = {**service.get("status", {}), **observed, **status}

    def answer(self, asked: Asked) -> tuple[int, bytes, str]:
        if asked.path.startswith(("/apis/apps/v1/namespaces/apps/", "/api/v1/namespaces/apps/")):
            assert (asked.method, asked.headers["content-type"]) == ("PATCH", APPLY)
            self.others[asked.path] = asked.json()
            return _told(asked.json())
        assert asked.path.startswith("/apis/serving.knative.dev/v1/namespaces/apps/"), asked.path
        *_, kind, name = asked.path.split("/")
        if name == "services":
            selector = asked.query["labelSelector"][0].partition("=")
            items = [
                one for one in self.services.values() if one["metadata"]["labels"][selector[0]] == selector[2]
            ]
            return _told({"items": items, "metadata": {}})
        kept = self.revisions if kind == "revisions" else self.services
        if asked.method == "PATCH":
            return self._patched(asked, name)
        if name not in kept:
            return self._status(404, f'{kind} "{name}" not found', name)
        return _told(kept.pop(name) if asked.method == "DELETE" else kept[name])

    def _patched(self, asked: Asked, name: str) -> tuple[int, bytes, str]:
        there = self.services.get(name)
        if asked.headers["content-type"] == APPLY:
            assert asked.query["fieldManager"] == ["regrain"]
            wanted = asked.json()
        elif there is None:
            return self._status(404, "not found", name)
        else:
            wanted = _merged(there, asked.json())
        generation = there["metadata"]["generation"] + 1 if there else 1
        metadata = {**wanted["metadata"], "namespace": "apps", "generation": generation, "uid": f"uid-{name}"}
        self.services[name] = {"status": (there or {}).get("status", {}), **wanted, "metadata": metadata}
        return _told(self.services[name], 200 if there else 201)

    def _status(self, code: int, message: str, name: str) -> tuple[int, bytes, str]:
        return _told({"kind": "Status", "code": code, "message": message, "details": {"name": name}}, code)


def _merged(there: dict, patch: dict) -> dict:
    """Merge as RFC 7396 says."""
    return {
        **there,
        **{
            name: _merged(there.get(name, {}), value) if isinstance(value, dict) else value
            for name, value in patch.items()
        },
    }


@dataclass(frozen=True)
class Case:
    """A driver, the provider that it speaks with, and how it is made with other patience."""

    name: str
    provider: Gateway | Cluster_
    make: Callable[[Patience], Platform]
    platform: Platform

    def fail(self, status: int, message: str = "", *, times: int = 1, **more: object) -> None:
        """Have the next requests fail, in the words of the provider's kind."""
        body, kind = message.encode(), "text/plain"
        if self.name == "knative":
            body = json.dumps({"kind": "Status", "code": status, "message": message}).encode()
            kind = "application/json"
        self.provider.faults += [Fault(status, **{"body": body, "kind": kind, **more})] * times


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    provider = Gateway()
    with provider.serving():
        yield provider


@pytest.fixture
def cluster() -> Iterator[Cluster_]:
    provider = Cluster_()
    with provider.serving():
        yield provider


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """An app's folder, with a file that is not to be sent."""
    (tmp_path / "app.py").write_text("app = 1\n")
    (tmp_path / ".env").write_text("TOKEN=1\n")
    return Source(folder=tmp_path, key=KEY, told=lambda line: None)


@pytest.fixture
def fault() -> type[Fault]:
    """How to say that a request fails."""
    return Fault


@pytest.fixture
def closed() -> Iterator[contextlib.ExitStack]:
    """What a test opens, and is closed at its end."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def openfaas(gateway: Gateway, closed: contextlib.ExitStack) -> Callable[..., OpenFaas]:
    def make(patience: Patience = PATIENCE, **settings: str) -> OpenFaas:
        made = OpenFaas(gateway.url, Credentials("admin", SECRET), patience=patience, **settings)
        return closed.enter_context(contextlib.closing(made))

    return make


@pytest.fixture
def local(gateway: Gateway, source: Source, closed: contextlib.ExitStack) -> Callable[..., Local]:
    def make(patience: Patience = PATIENCE, source: Source = source) -> Local:
        made = Local(gateway.url, Credentials("admin", SECRET), source, patience=patience)
        return closed.enter_context(contextlib.closing(made))

    return make


@pytest.fixture
def knative(cluster: Cluster_, closed: contextlib.ExitStack) -> Callable[..., Knative]:
    def make(patience: Patience = PATIENCE, **settings: object) -> Knative:
        config = KubeConfig.from_one(cluster=Cluster(server=cluster.url), user=User(), namespace="apps")
        made = Knative(patience=patience, config=config, **settings)
        return closed.enter_context(contextlib.closing(made))

    return make


@pytest.fixture(params=["local", "openfaas", "knative"])
def case(request: pytest.FixtureRequest) -> Case:
    """Each driver in turn, before a provider of its kind."""
    make = request.getfixturevalue(request.param)
    provider = request.getfixturevalue("cluster" if request.param == "knative" else "gateway")
    return Case(request.param, provider, make, make())
