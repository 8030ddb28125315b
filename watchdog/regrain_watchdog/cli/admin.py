"""Talk to a running app: find its admin address, ask, and check what comes back.

The address is --url or REGRAIN_URL; without them it is read from the run files. The key, where the app asks for
one, is in the file that REGRAIN_ADMIN_KEY_FILE names, as for the app itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TypeVar

import click
import msgspec
import requests
from msgspec import Struct

from regrain.errors import RegrainError, SpecError
from regrain_watchdog.cli import runfile
from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.settings import PREFIX
from regrain_watchdog.load.client import Target
from regrain_watchdog.platforms.unanswered import reason

TIMEOUT = 10.0
"""Seconds that the admin API may take: it answers from memory, so this only catches a stopped process."""

ELSEWHERE = "--url or REGRAIN_URL is the admin address, which `regrain run` says at its start"

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., object])


class AdminError(RegrainError):
    """The running app could not be asked, or answered something else than was asked.

    Attributes:
        status: of its answer; 0 where there is none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Replica(Struct, frozen=True, kw_only=True):
    """A worker process of a group.

    resident: the stages that it has loaded. memory: bytes that it holds for itself.
    guest: it stands in until the group has replicas of its own.
    """

    pid: int
    state: str
    resident: list[str] = []
    memory: int = 0
    guest: bool = False


class Lane(Struct, frozen=True, kw_only=True):
    """One stage of a fluid group: units that wait, those of a dispatch at most, and its share of a GPU."""

    stage: str
    queue: int = 0
    max_size: int = 1
    gpu: float = 0.0


class GroupStatus(Struct, frozen=True, kw_only=True):
    """A group as it runs; `queue` counts waiting units, `max_wait` is in seconds; `state` "" or "crash-loop".

    `cpu` cores and `gpu`, a share of one, are what each replica may use. A fluid group has `lanes`, one for each stage;
    its `gpu` is what they share.
    """

    name: str
    stages: list[str]
    replicas: list[Replica] = []
    state: str = ""
    queue: int = 0
    max_size: int = 1
    max_wait: float = 0.0
    cpu: float = 1.0
    gpu: float = 0.0
    lanes: list[Lane] = []


class GpuStatus(Struct, frozen=True, kw_only=True):
    """A GPU that the app's replicas have shares of: its type, SMs and bytes of memory, and which part of one it is."""

    card: str
    sms: int
    memory: int
    part: float = 1.0


class LoadStatus(Struct, frozen=True, kw_only=True):
    """What arrived in the last `window` seconds; latencies in seconds, None while nothing was measured."""

    window: float = 0.0
    requests: int = 0
    rate: float = 0.0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    hit_rate: float | None = None


class Objective(Struct, frozen=True, kw_only=True):
    """The app's SLO, seconds and a share."""

    latency: float
    attainment: float


class Transition(Struct, frozen=True, kw_only=True, rename={"old": "from", "new": "to"}):
    """A change of plan or version. `at`: its begin in unix seconds; `seconds`: until it was in force or had failed.

    by: who wanted it.
    """

    at: float
    old: str
    new: str
    state: str
    seconds: float = 0.0
    detail: str = ""
    by: str = ""


class Adapting(Struct, frozen=True, kw_only=True):
    """The controller of an app that adapts.

    number: decisions so far. trouble: that there is none and why, until another one decides.
    """

    predictor: str = ""
    number: int = 0
    trouble: str = ""


class Status(Struct, frozen=True, kw_only=True):
    """GET /status; `state` is "starting", "ready", "crash-loop" or "draining", `uptime` in seconds.

    beside: the groups of plans that are to come, or that still end their calls, while the plan changes.
    epoch: of the groups that a controller has assigned to this pod; 0 where none has.
    """

    app: str
    state: str
    grain: str
    version: str = ""
    pid: int = 0
    uptime: float = 0.0
    ports: dict[str, int | None] = {}
    scheme: str = "http"
    groups: list[GroupStatus] = []
    beside: list[GroupStatus] = []
    gpus: list[GpuStatus] = []
    load: LoadStatus = LoadStatus()
    slo: Objective | None = None
    warnings: list[str] = []
    transitions: list[Transition] = []
    resident: str = ""
    held: bool = False
    epoch: int = 0
    adapting: Adapting | None = None


class Span(Struct, frozen=True, kw_only=True):
    """What a stage, or a group's queue or hop, cost a request; seconds."""

    group: str
    stage: str
    kind: str
    seconds: float
    batch: int = 1


class Miss(Struct, frozen=True, kw_only=True):
    """A request that missed. `at`: unix seconds; `slo`: seconds; `reason`: late, shed or failed."""

    call_id: str
    at: float
    status: int
    seconds: float
    slo: float | None = None
    reason: str = ""
    spans: list[Span] = []


def target(command: Command) -> Command:
    """Give a command the options --url and --app."""
    command = click.option("--app", default="", help="Which running app, where there are several.")(command)
    return click.option(
        "--url",
        envvar="REGRAIN_URL",
        default="",
        show_envvar=True,
        help="The admin address of the app, such as http://127.0.0.1:8082.",
    )(command)


def address(url: str, app: str) -> str:
    """Return the admin address that --url and --app mean; SpecError or RunFileError if they mean none."""
    if not url:
        return running(app).admin
    if not url.startswith(("http://", "https://")):
        raise SpecError(f"--url must start with http:// or https://, it is {url!r}")
    Target.of(url)  # before anybody is asked: how a malformed host fails is up to the library that asks
    return url.rstrip("/")


def running(app: str) -> runfile.Running:
    """Return the app of this name that this user runs, or the only one; RunFileError if it is not clear."""
    return runfile.find(runfile.directory(os.environ), app)


def get(base: str, path: str, kind: type[T]) -> T:
    """Ask the admin API; AdminError says in one line what went wrong."""
    return _decoded(base, path, fetch(base, path), kind)


def fetch(base: str, path: str) -> bytes:
    """Return the body of an admin page as it came; AdminError if there is none."""
    return _answered(base, _ask("GET", base, path, TIMEOUT)).content


def post(base: str, path: str, wanted: Mapping[str, object], kind: type[T], timeout: float) -> T:
    """Have the app change something; SpecError for what is none of this app's, AdminError for what did not work out."""
    response = _ask("POST", base, path, timeout, msgspec.json.encode(wanted))
    if response.status_code == HTTPStatus.BAD_REQUEST:
        raise SpecError(problem(response.content) or f"{base}{path} refused {wanted}")
    return _decoded(base, path, _answered(base, response).content, kind)


def _ask(method: str, base: str, path: str, timeout: float, sent: bytes | None = None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # a proxy has no part in what goes over loopback
        session.headers.update(credentials("admin_key_file"))
        try:
            return session.request(
                method,
                base + path,
                data=sent,
                timeout=(TIMEOUT, timeout),
                allow_redirects=False,  # the key is for this app alone
            )
        except requests.RequestException as error:
            raise AdminError(f"no app answers at {base}: {reason(error)}") from error


def _answered(base: str, response: requests.Response) -> requests.Response:
    if response.ok and not response.is_redirect:
        return response
    found = _problem(response.content)
    if response.status_code == HTTPStatus.NOT_FOUND and (found is None or found.call_id):  # an app says no
        raise AdminError(f"{base} is no admin address of Regrain; {ELSEWHERE}", response.status_code)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        raise AdminError(locked("admin_key_file"), response.status_code)
    raise AdminError(
        problem(response.content) or f"{response.url} answered {response.status_code} {response.reason}",
        response.status_code,
    )


def _decoded(base: str, path: str, body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AdminError(f"{base}{path} is no admin address of Regrain: {error}; {ELSEWHERE}") from error


def credentials(setting: str) -> dict[str, str]:
    """Return the headers that show a setting's key, if it has one; SpecError for a file that holds none."""
    key = Key.load(os.environ.get(f"{PREFIX}{setting.upper()}", ""), setting)
    return {"X-Regrain-Key": key.secret} if key else {}


def locked(setting: str) -> str:
    """Say that a key is missing or wrong, and which variable names its file."""
    return f"the key is missing or wrong: {PREFIX}{setting.upper()} names the file that holds it"


def problem(body: bytes) -> str:
    """What a problem document (RFC 9457) says; "" for a body that is none."""
    found = _problem(body)
    if found is None:
        return ""
    stage = f"stage {found.stage}: " if found.stage and found.stage not in found.detail else ""
    return stage + (found.detail or found.title)


class _Problem(Struct, frozen=True):
    title: str = ""
    detail: str = ""
    stage: str = ""
    call_id: str = ""


def _problem(body: bytes) -> _Problem | None:
    try:
        return msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
