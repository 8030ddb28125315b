"""Every setting of the front, in one frozen value.

A setting has one name in flag, environment and docs: the field `max_body` is `--max-body` and
`REGRAIN_MAX_BODY`. The fields carry their own help, so flags and docs/settings.md are made from them and
cannot drift.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import msgspec

from regrain.errors import SpecError
from regrain.manifest import Manifest
from regrain.units import parse_bytes, parse_seconds
from regrain_watchdog.front.listen import is_loopback

PREFIX = "REGRAIN_"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
ACCESS_LOGS = ("off", "text", "json")
TRACE_CONTEXTS = ("pass", "make")
LAST_PORT = 65535
OFF = "off"
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a field of Config means to a user.

    Attributes:
        help: one sentence.
        allowed: what a value may be, for error messages and docs.
        parse: text to value; ValueError where the text is none of `allowed`.
        accepts: whether a value is one of `allowed`.
        unset: what happens where nobody sets it.
    """

    help: str
    allowed: str
    parse: Callable[[str], object]
    accepts: Callable[[object], bool]
    unset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A setting under its three names; `default` is the value's text."""

    name: str
    flag: str
    environment: str
    default: str
    setting: Setting


def _text(help_: str, allowed: str, unset: str) -> dict[str, Setting]:
    return _setting(help_, allowed, str, lambda value: isinstance(value, str), unset)


def _file(help_: str, unset: str) -> dict[str, Setting]:
    return _text(help_, "the path of a file", unset)


def _choice(help_: str, choices: tuple[str, ...]) -> dict[str, Setting]:
    return _setting(help_, ", ".join(choices), str.lower, lambda value: value in choices)


def _count(help_: str, least: int = 1) -> dict[str, Setting]:
    allowed = f"whole numbers from {least}"
    return _setting(help_, allowed, int, lambda value: isinstance(value, int) and value >= least)


def _port(help_: str, unset: str = "") -> dict[str, Setting]:
    allowed = f"0 (any free port) to {LAST_PORT}"
    return _setting(
        help_, allowed, int, lambda value: isinstance(value, int) and 0 <= value <= LAST_PORT, unset
    )


def _port_or_off(help_: str, unset: str) -> dict[str, Setting]:
    def parse(text: str) -> int | None:
        return None if text.lower() == OFF else int(text)

    def accepts(value: object) -> bool:
        return value is None or (isinstance(value, int) and 0 <= value <= LAST_PORT)

    return _setting(help_, f"0 (any free port) to {LAST_PORT}, or {OFF}", parse, accepts, unset)


def _size(help_: str, least: int) -> dict[str, Setting]:
    allowed = f'sizes such as "512Ki", "64Mi", "2Gi" or a number of bytes, from {least}'
    return _setting(help_, allowed, parse_bytes, lambda value: isinstance(value, int) and value >= least)


def _duration(help_: str, *, zero: bool = False) -> dict[str, Setting]:
    allowed = f'durations such as "300ms", "1.5s" or seconds, {"from 0" if zero else "over 0"}'
    return _setting(
        help_,
        allowed,
        parse_seconds,
        lambda value: isinstance(value, int | float) and (0 < value < float("inf") or (zero and value == 0)),
    )


def _setting(
    help_: str,
    allowed: str,
    parse: Callable[[str], object],
    accepts: Callable[[object], bool],
    unset: str = "",
) -> dict[str, Setting]:
    return {"setting": Setting(help=help_, allowed=allowed, parse=parse, accepts=accepts, unset=unset)}


def _address(text: str) -> str:
    return text if text == "localhost" else str(ipaddress.ip_address(text))


def _is_address(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(_address(value))
    except ValueError:
        return False


def _slo(text: str) -> str:
    parse_seconds(text)
    return text


def _is_slo(value: object) -> bool:
    try:
        return isinstance(value, str) and (value == "" or parse_seconds(value) > 0)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How the front serves. Seconds and bytes; SpecError names the setting that is wrong."""

    DEFAULT_METRICS_PORT: ClassVar[int] = 8081
    DEFAULT_GRPC_PORT: ClassVar[int] = 9000

    host: str = dataclasses.field(
        default="127.0.0.1",
        metadata=_setting(
            "Address that HTTP and metrics listen on; 0.0.0.0 in a container.",
            "localhost or an IP address",
            _address,
            _is_address,
        ),
    )
    port: int = dataclasses.field(default=8080, metadata=_port("Port of the app."))
    metrics_port: int = dataclasses.field(
        default=DEFAULT_METRICS_PORT,
        metadata=_port(
            "Port of the Prometheus metrics.", "8081, or any free port where 8081 is taken; the log names it"
        ),
    )
    grpc_port: int | None = dataclasses.field(
        default=DEFAULT_GRPC_PORT,
        metadata=_port_or_off(
            "Port of the app over gRPC: Open Inference Protocol, Invoke, health and reflection.",
            "9000, or any free port where 9000 is taken; the app's first lines name it",
        ),
    )
    admin_port: int = dataclasses.field(
        default=0, metadata=_port("Port of the admin API and of the live page.", "any free port")
    )
    admin_host: str = dataclasses.field(
        default="127.0.0.1",
        metadata=_setting(
            "Address that the admin API listens on; off loopback it needs `admin_key_file`.",
            "localhost or an IP address",
            _address,
            _is_address,
        ),
    )
    admin_key_file: str = dataclasses.field(
        default="", metadata=_file("File that holds the key of the admin API.", "no key, on loopback only")
    )
    invocation_key_file: str = dataclasses.field(
        default="",
        metadata=_file("File that holds the key which calls must show.", "calls need no key"),
    )
    tls_cert: str = dataclasses.field(
        default="",
        metadata=_file("Certificate chain (PEM) of the app's port; with `tls_key` it speaks HTTPS.", "HTTP"),
    )
    tls_key: str = dataclasses.field(
        default="", metadata=_file("Private key (PEM) of `tls_cert`, without a passphrase.", "HTTP")
    )
    grain: str = dataclasses.field(
        default="",
        metadata=_text(
            "Which stages run together in one function.",
            'fine, coarse or groups such as "decode+detect | crop+recognise"',
            "the app's own grain",
        ),
    )
    replicas: str = dataclasses.field(
        default="",
        metadata=_text(
            "Worker processes per group.",
            'one number for all groups, or "decode=1,recognise=2" by stage or group',
            "one of each group",
        ),
    )
    slo: str = dataclasses.field(
        default="",
        metadata=_setting(
            "Latency objective in place of the app's own.",
            'durations over 0, such as "300ms" or "1.5s"',
            _slo,
            _is_slo,
            "the app's own objective",
        ),
    )
    max_body: int = dataclasses.field(
        default=64 * MIB, metadata=_size("Bytes that a request's body may have; more is answered 413.", 1)
    )
    body_timeout: float = dataclasses.field(
        default=30.0,
        metadata=_duration("Time in which a request's whole body must arrive; later is answered 408."),
    )
    header_timeout: float = dataclasses.field(
        default=30.0,
        metadata=_duration(
            "Time in which a request's headers must arrive, and which a kept-alive connection may idle."
        ),
    )
    max_connections: int = dataclasses.field(
        default=1024, metadata=_count("Connections served at once; further ones wait to be accepted.")
    )
    max_queue: int = dataclasses.field(
        default=1024,
        metadata=_count("Requests waiting for a replica, all groups together; more are answered 503."),
    )
    memory: int = dataclasses.field(
        default=1024 * MIB,
        metadata=_size("Shared memory for values on their way, at most; beyond it requests get 503.", MIB),
    )
    upstream_url: str = dataclasses.field(
        default="",
        metadata=_text(
            "HTTP process to serve in place of an app, such as http://127.0.0.1:5000.",
            "http://HOST:PORT",
            "an app",
        ),
    )
    fprocess: str = dataclasses.field(
        default="",
        metadata=_text(
            "Command that starts the upstream; it is started again when it ends.",
            "a program and its arguments, quoted as in a shell",
            "the upstream is run by somebody else",
        ),
    )
    ready_path: str = dataclasses.field(
        default="",
        metadata=_text(
            "Path of the upstream that answers 2xx to GET once it is ready.",
            "paths such as /healthz",
            "ready as soon as it accepts connections",
        ),
    )
    max_inflight: int = dataclasses.field(
        default=0,
        metadata=_count("Requests that an upstream is given at once, 0: all; further ones wait in line.", 0),
    )
    exec_timeout: float = dataclasses.field(
        default=30.0,
        metadata=_duration(
            "Time from a request's arrival to an upstream's answer, and between two pieces of it, 0: no limit; "
            "X-Timeout may lower it.",
            zero=True,
        ),
    )
    lock_file: str = dataclasses.field(
        default="", metadata=_file("File that exists while an upstream is served, for probes.", "none")
    )
    start_timeout: float = dataclasses.field(
        default=120.0, metadata=_duration("Time in which the first replica of every group must be ready.")
    )
    healthcheck_interval: float = dataclasses.field(
        default=0.0,
        metadata=_duration(
            "Time after SIGTERM during which the app is not ready yet still serves, so that load balancers "
            "notice; in a cluster the readiness probe's period times its failure threshold.",
            zero=True,
        ),
    )
    drain_timeout: float = dataclasses.field(
        default=30.0, metadata=_duration("Time that accepted requests have to finish after SIGTERM.")
    )
    log_level: str = dataclasses.field(
        default="info", metadata=_choice("Least severe message that is logged.", LOG_LEVELS)
    )
    log_format: str = dataclasses.field(default="text", metadata=_choice("Form of a log line.", LOG_FORMATS))
    access_log: str = dataclasses.field(
        default="off", metadata=_choice("One line per request: none, or in which form.", ACCESS_LOGS)
    )
    trace_context: str = dataclasses.field(
        default="pass",
        metadata=_choice(
            "W3C traceparent: passed on, or also made where a request has none.", TRACE_CONTEXTS
        ),
    )

    def __post_init__(self) -> None:
        for option in options():
            value: object = getattr(self, option.name)
            if not option.setting.accepts(value):
                raise _refusal(option, value)
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
        values = {name: _parse(known[name], text) for name, text in texts.items()}
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
    if not config.admin_key_file and not is_loopback(config.admin_host):
        raise SpecError(
            f"REGRAIN_ADMIN_HOST (--admin-host): others can reach {config.admin_host}, so the admin API needs "
            "REGRAIN_ADMIN_KEY_FILE (--admin-key-file)"
        )


def _parse(option: Option, text: str) -> object:
    try:
        value = option.setting.parse(text.strip())
    except ValueError as error:
        raise _refusal(option, text) from error
    if not option.setting.accepts(value):
        raise _refusal(option, text)
    return value


def _refusal(option: Option, value: object) -> SpecError:
    return SpecError(
        f"{option.environment} ({option.flag}): was {value!r}, allowed are {option.setting.allowed}"
    )


def _option(name: str, default: object, setting: Setting) -> Option:
    return Option(
        name=name,
        flag=f"--{name.replace('_', '-')}",
        environment=f"{PREFIX}{name.upper()}",
        default=_shown(default, setting),
        setting=setting,
    )


def _shown(value: object, setting: Setting) -> str:
    """A value as a user would write it."""
    if setting.parse is parse_bytes and isinstance(value, int) and value % MIB == 0:
        return f"{value // MIB}Mi"
    return f"{value:g}s" if isinstance(value, float) else str(value)


_OPTIONS = tuple(_option(field.name, field.default, field.metadata["setting"]) for field in fields(Config))
