"""Every setting of the front, in one frozen value.

A setting has one name in flag, environment and docs: the field `max_body` is `--max-body` and
`REGRAIN_MAX_BODY`. The fields carry their own help, so flags and docs/settings.md are made from them and
cannot drift.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import msgspec

from regrain.cards import PREFIX
from regrain.errors import SpecError
from regrain.hosts import is_loopback
from regrain.manifest import Manifest
from regrain.units import parse_seconds
from regrain_watchdog.front import settings
from regrain_watchdog.front.call import MAX_ITEMS
from regrain_watchdog.front.settings import MIB, Option
from regrain_watchdog.gpu.limits import HANG
from regrain_watchdog.policy.resident import PLAN

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
ACCESS_LOGS = ("off", "text", "json")
TRACE_CONTEXTS = ("pass", "make")
PREDICTORS = ("verified", "analytic", "simulated", "learned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How the front serves. Seconds and bytes; SpecError names the setting that is wrong."""

    DEFAULT_METRICS_PORT: ClassVar[int] = 8081
    DEFAULT_GRPC_PORT: ClassVar[int] = 9000

    host: str = dataclasses.field(
        default="127.0.0.1",
        metadata=settings.address("Address that HTTP and metrics listen on; 0.0.0.0 in a container."),
    )
    port: int = dataclasses.field(default=8080, metadata=settings.port("Port of the app."))
    metrics_port: int = dataclasses.field(
        default=DEFAULT_METRICS_PORT,
        metadata=settings.port(
            "Port of the Prometheus metrics.", "8081, or any free port where 8081 is taken; the log names it"
        ),
    )
    grpc_port: int | None = dataclasses.field(
        default=DEFAULT_GRPC_PORT,
        metadata=settings.port_or_off(
            "Port of the app over gRPC: Open Inference Protocol, Invoke, health and reflection.",
            "9000, or any free port where 9000 is taken; the app's first lines name it",
        ),
    )
    admin_port: int = dataclasses.field(
        default=0, metadata=settings.port("Port of the admin API and of the live page.", "any free port")
    )
    admin_host: str = dataclasses.field(
        default="127.0.0.1",
        metadata=settings.address(
            "Address that the admin API listens on; off loopback it needs `admin_key_file`."
        ),
    )
    admin_key_file: str = dataclasses.field(
        default="",
        metadata=settings.file("File that holds the key of the admin API.", "no key, on loopback only"),
    )
    invocation_key_file: str = dataclasses.field(
        default="",
        metadata=settings.file("File that holds the key which calls must show.", "calls need no key"),
    )
    tls_cert: str = dataclasses.field(
        default="",
        metadata=settings.file(
            "Certificate chain (PEM) of the app's port; with `tls_key` it speaks HTTPS.", "HTTP"
        ),
    )
    tls_key: str = dataclasses.field(
        default="", metadata=settings.file("Private key (PEM) of `tls_cert`, without a passphrase.", "HTTP")
    )
    grain: str = dataclasses.field(
        default="",
        metadata=settings.text(
            "Which stages run together in one function.",
            'fine, coarse or groups such as "decode+detect | crop+recognise"',
            "the app's own grain",
        ),
    )
    replicas: str = dataclasses.field(
        default="",
        metadata=settings.text(
            "Worker processes per group.",
            'one number for all groups, or "decode=1,recognise=2" by stage or group',
            "one of each group",
        ),
    )
    resident: str = dataclasses.field(
        default=PLAN,
        metadata=settings.text(
            "Stages that replicas keep loaded: those of their group (plan), all, or these beside their group's. "
            "A change among loaded stages starts no process.",
            'plan, all, or stages such as "detect,recognise"',
            "",
        ),
    )
    gpus: str = dataclasses.field(
        default="",
        metadata=settings.text(
            "GPUs that are shared out among the stages that need one.",
            'emulated ones such as "emulated:v100x2", with a scenario; or this machine\'s: lease, green, mps, mig',
            "none",
        ),
    )
    scenario: str = dataclasses.field(
        default="",
        metadata=settings.file("File that says what stages stand for on emulated GPUs.", "none"),
    )
    gpu_shares: str = dataclasses.field(
        default="",
        metadata=settings.text(
            "Part of a GPU's SMs that a group runs on, and what each of its replicas is entitled to.",
            'one number for all groups, or by stage or group such as "detect=0.25 floor=0.1 weight=3, recognise=0.5", '
            "with weight, floor, ceiling and priority as wanted",
            "as its stages hint, or all",
        ),
    )
    gpu_folder: str = dataclasses.field(
        default="",
        metadata=settings.file(
            "Folder in which `regrain gpu serve` shares the GPUs among several apps.",
            "the app has them for itself",
        ),
    )
    gpu_hang_timeout: float = dataclasses.field(
        default=HANG,
        metadata=settings.duration(
            "Time that a call may go on on a GPU after its lease of 2 s has ended, while others wait for it; then its "
            "process is ended."
        ),
    )
    remote: str = dataclasses.field(
        default="",
        metadata=settings.text(
            "Stages that other pods of this app run, and where those are.",
            'URLs by stage or group such as "recognise=http://10.0.0.7:8080 http://10.0.0.8:8080, detect=..."',
            "all run here",
        ),
    )
    remote_key_file: str = dataclasses.field(
        default="",
        metadata=settings.file(
            "File that holds the secret which the pods of this app share; with it, each runs groups for the others.",
            "pods have nothing to do with each other",
        ),
    )
    slo: str = dataclasses.field(
        default="",
        metadata=settings.objective(
            "Latency objective in place of the app's own.", "the app's own objective"
        ),
    )
    adapt: bool = dataclasses.field(
        default=False,
        metadata=settings.switch(
            "Change grain, batches, replicas and shares while serving, so that the objective is met at the least cost."
        ),
    )
    profile: str = dataclasses.field(
        default="",
        metadata=settings.file(
            "What the app's stages cost, as `regrain profile` wrote it; for `adapt`.",
            "profile.json beside the app if it is of this code; else it is learned while serving",
        ),
    )
    predictor: str = dataclasses.field(
        default=PREDICTORS[0],
        metadata=settings.choice("What predicts the hit rate of plans, for `adapt`.", PREDICTORS),
    )
    adapt_period: float = dataclasses.field(
        default=15.0,
        metadata=settings.duration("Time between two looks at the plan where the load stays as it is."),
    )
    decision_log: str = dataclasses.field(
        default="",
        metadata=settings.file("File to which decisions about the plan go, as lines of JSON.", "none"),
    )
    cores: int = dataclasses.field(
        default=0,
        metadata=settings.count("Cores that `adapt` may give to replicas, 0: those of the machine.", 0),
    )
    max_body: int = dataclasses.field(
        default=64 * MIB,
        metadata=settings.size("Bytes that a request's body may have; more is answered 413.", 1),
    )
    body_timeout: float = dataclasses.field(
        default=30.0,
        metadata=settings.duration(
            "Time in which a request's whole body, or the message of a call over gRPC, must arrive; later is "
            "answered 408."
        ),
    )
    header_timeout: float = dataclasses.field(
        default=30.0,
        metadata=settings.duration(
            "Time in which a request's headers must arrive, and which a kept-alive connection, or one of many streams "
            "over gRPC, may idle."
        ),
    )
    max_connections: int = dataclasses.field(
        default=1024,
        metadata=settings.count(
            "Connections served at once, over gRPC calls; further ones wait to be accepted, and over gRPC and before "
            "an upstream are refused."
        ),
    )
    max_queue: int = dataclasses.field(
        default=1024,
        metadata=settings.count(
            "Requests waiting for a replica, all groups together; beyond it the least urgent is answered 503."
        ),
    )
    max_items: int = dataclasses.field(
        default=MAX_ITEMS,
        metadata=settings.count(
            "Items that a list of a request may have over which a stage is mapped; more is answered 413. How many a "
            "stage makes of what it is given is its own matter."
        ),
    )
    hang_timeout: float = dataclasses.field(
        default=300.0,
        metadata=settings.duration(
            "Time after which a replica that has work and does not move is ended, 0: never; a stage's own "
            "timeout wins.",
            zero=True,
        ),
    )
    replica_memory: int = dataclasses.field(
        default=0,
        metadata=settings.size(
            "Memory of one replica at most, 0: no limit; by a cgroup where the front may make some, else by "
            "RLIMIT_DATA (not for stages on a GPU).",
            0,
        ),
    )
    memory: int = dataclasses.field(
        default=1024 * MIB,
        metadata=settings.size(
            "Shared memory for values on their way, at most; beyond it requests get 503.", MIB
        ),
    )
    upstream_url: str = dataclasses.field(
        default="",
        metadata=settings.text(
            "HTTP process to serve in place of an app, such as http://127.0.0.1:5000.",
            "http://HOST:PORT",
            "an app",
        ),
    )
    fprocess: str = dataclasses.field(
        default="",
        metadata=settings.text(
            "Command that starts the upstream; it is started again when it ends.",
            "a program and its arguments, quoted as in a shell",
            "the upstream is run by somebody else",
        ),
    )
    ready_path: str = dataclasses.field(
        default="",
        metadata=settings.url_path(
            "Path of the upstream that answers 2xx to GET once it is ready.",
            "ready as soon as it accepts connections",
        ),
    )
    max_inflight: int = dataclasses.field(
        default=0,
        metadata=settings.count(
            "Requests that an upstream is given at once, 0: all; further ones wait in line.", 0
        ),
    )
    exec_timeout: float = dataclasses.field(
        default=30.0,
        metadata=settings.duration(
            "Time from a request's arrival to an upstream's answer, and between two pieces of it, 0: no limit; "
            "X-Timeout may lower it.",
            zero=True,
        ),
    )
    lock_file: str = dataclasses.field(
        default="",
        metadata=settings.file("File that exists while an upstream is served, for probes.", "none"),
    )
    start_timeout: float = dataclasses.field(
        default=120.0,
        metadata=settings.duration("Time in which the first replica of every group must be ready."),
    )
    healthcheck_interval: float = dataclasses.field(
        default=0.0,
        metadata=settings.duration(
            "Time after SIGTERM during which the app is not ready yet still serves, so that load balancers "
            "notice; in a cluster the readiness probe's period times its failure threshold.",
            zero=True,
        ),
    )
    drain_timeout: float = dataclasses.field(
        default=30.0, metadata=settings.duration("Time that accepted requests have to finish after SIGTERM.")
    )
    log_level: str = dataclasses.field(
        default="info", metadata=settings.choice("Least severe message that is logged.", LOG_LEVELS)
    )
    log_format: str = dataclasses.field(
        default="text", metadata=settings.choice("Form of a log line.", LOG_FORMATS)
    )
    access_log: str = dataclasses.field(
        default="off", metadata=settings.choice("One line per request: none, or in which form.", ACCESS_LOGS)
    )
    trace_context: str = dataclasses.field(
        default="pass",
        metadata=settings.choice(
            "W3C traceparent: passed on, or also made where a request has none.", TRACE_CONTEXTS
        ),
    )

    def __post_init__(self) -> None:
        for option in options():
            value: object = getattr(self, option.name)
            if not option.setting.accepts(value):
                raise settings.refusal(option, value)
        _check_together(self)

    def latency(self, manifest: Manifest) -> float | None:
        """The latency objective in seconds: `slo` if set, else the app's own; None where there is neither."""
        if self.slo:
            return parse_seconds(self.slo)
        return manifest.slo.latency if manifest.slo is not None else None

    @classmethod
    def from_env(cls, environ: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Config:
        """Read REGRAIN_* variables; `flags` (field name to text) win over them.

        A variable that is empty counts as unset, one that no setting has is left alone (Kubernetes adds
        its own). SpecError names the variable, the flag, the value and what is allowed.
        """
        found = {option.name: environ.get(option.environment, "") for option in options()}
        return cls.from_strings({name: text for name, text in found.items() if text} | dict(flags or {}))

    @classmethod
    def from_strings(cls, texts: Mapping[str, str]) -> Config:
        """Read settings as text by field name; SpecError as in `from_env`, and for a name that is none."""
        known = {option.name: option for option in options()}
        if unknown := sorted(set(texts) - set(known)):
            raise SpecError(f"no setting is called {unknown[0]}, there are {', '.join(known)}")
        values = {name: settings.parse(known[name], text) for name, text in texts.items()}
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, SpecError):  # settings that do not go together
                raise error.__cause__ from None
            raise


def options() -> tuple[Option, ...]:
    """Every setting under its flag and variable, in the order of the docs."""
    return _OPTIONS


def _check_together(config: Config) -> None:
    """SpecError where settings do not go together."""
    if bool(config.tls_cert) != bool(config.tls_key):
        lacking = "tls_key" if config.tls_cert else "tls_cert"
        raise SpecError(
            f"REGRAIN_{lacking.upper()} (--{lacking.replace('_', '-')}) is missing: TLS needs both files"
        )
    if config.gpus.startswith(PREFIX) and not config.scenario:
        raise SpecError(
            "REGRAIN_SCENARIO (--scenario) is missing: emulated GPUs need what their stages stand for"
        )
    if config.remote and not config.remote_key_file:
        raise SpecError(
            "REGRAIN_REMOTE_KEY_FILE (--remote-key-file) is missing: pods show each other a secret"
        )
    if config.remote and config.adapt:
        raise SpecError("--adapt plans for one pod, --remote says what others run: allowed is one of them")
    if not config.admin_key_file and not is_loopback(config.admin_host):
        raise SpecError(
            f"REGRAIN_ADMIN_HOST (--admin-host): others can reach {config.admin_host}, so the admin API needs "
            "REGRAIN_ADMIN_KEY_FILE (--admin-key-file)"
        )


_OPTIONS = tuple(
    settings.option(field.name, field.default, field.metadata["setting"]) for field in fields(Config)
)
