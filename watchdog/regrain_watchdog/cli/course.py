"""Which requests go to which running apps: from a scenario, or from the options of the command."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict
from urllib.parse import urlencode

import numpy as np

from regrain.cards import Card, card_of
from regrain.errors import SpecError
from regrain.hosts import LOCALHOST, is_loopback
from regrain.manifest import SLOSpec
from regrain_watchdog.cli import admin, request, runfile
from regrain_watchdog.cli.admin import Status
from regrain_watchdog.cli.decided import Decided
from regrain_watchdog.cli.durations import above_zero
from regrain_watchdog.cli.invoke import addresses, sample_of
from regrain_watchdog.load.body import Content, contents
from regrain_watchdog.load.client import Target
from regrain_watchdog.load.drive import Job, Sent
from regrain_watchdog.load.spend import Meter
from regrain_watchdog.policy.cost import Prices
from regrain_watchdog.simulate.arrivals import Poisson
from regrain_watchdog.simulate.scenario import AppScenario, Scenario, offered
from regrain_watchdog.simulate.static import profile_of

ATTAINMENT = 0.95
"""The share of requests that should hit where nobody says another."""


class Wanted(TypedDict):
    """A load of one app, as the options of the command have it."""

    rate: float
    duration: str
    body: str | None
    params: tuple[str, ...]
    sample: bool
    content_type: str
    slo: str
    seed: int


@dataclass(slots=True)
class Course:
    """The load of one app, and what came of it so far.

    Attributes:
        name: of the app. target: where it is served. base: its admin address; "" where there is none.
        times: seconds of its requests. contents: what each sends.
        slo: None where any answer is a hit.
        meter: of what it reserves.
        adapts: whether a scenario says that its plan is adapted.
        sent: requests that are over.
        refused: the first answer of each status that says what is wrong with the request or the app.
        decided: what its controller is seen to decide. is_asked: whether it may have one.
    """

    name: str
    target: Target
    base: str
    times: Sequence[float]
    contents: Sequence[Content]
    slo: SLOSpec | None
    meter: Meter
    adapts: bool = False
    sent: list[Sent] = field(default_factory=list)
    refused: dict[int, bytes] = field(default_factory=dict)
    decided: Decided = field(default_factory=Decided)
    is_asked: bool = True

    def jobs(self, place: int) -> Iterator[Job]:
        """Yield its requests, to go to the target of this place."""
        for at, content in zip(self.times, self.contents, strict=True):
            yield Job(at=at, target=place, content=content)


def from_options(url: str, admin_url: str, app: str, wanted: Wanted) -> Course:
    """Return the load that options ask for: Poisson, always the same body."""
    base, found = _where(url, admin_url, app)
    sent = _content(base, wanted)
    seconds = above_zero(wanted["duration"], "--duration")
    rng = np.random.default_rng(wanted["seed"])
    times = Poisson(wanted["rate"]).times(seconds, rng).at.tolist()
    status = _status(base)
    given = above_zero(wanted["slo"], "--slo") if wanted["slo"] else None
    own = status.slo if status is not None else None
    slo = SLOSpec(
        latency=given or (own.latency if own else 0.0), attainment=own.attainment if own else ATTAINMENT
    )
    return Course(
        name=status.app if status is not None else found,
        target=_with(Target.of(found), sent.query),
        base=base if status is not None else "",
        times=times,
        contents=[lambda: (sent.data, sent.content_type)] * len(times),
        slo=slo if slo.latency else None,
        meter=Meter(Prices(), _card(status), None),
    )


def from_scenario(scenario: Scenario, url: str, admin_url: str) -> list[Course]:
    """Return the loads of a scenario; `url` and `admin_url` say where its app is, if it has but one."""
    if len(scenario.apps) > 1 and (url or admin_url):
        raise SpecError("a scenario of several apps says in itself where each is: give each its url")
    return [_from_app(scenario, name, app, url, admin_url) for name, app in scenario.apps.items()]


def _from_app(scenario: Scenario, name: str, app: AppScenario, url: str, admin_url: str) -> Course:
    load = offered(scenario, name)
    base, found = _where(url or app.url, admin_url, name)
    status = _status(base)
    own = status.slo if status is not None else None
    profile = profile_of(app) if app.profile else None
    return Course(
        name=name,
        target=Target.of(found),
        base=base if status is not None else "",
        times=load.arrivals.at.tolist(),
        contents=contents(app, name, load),
        slo=app.slo or (SLOSpec(latency=own.latency, attainment=own.attainment) if own is not None else None),
        meter=Meter(scenario.prices, next(iter(scenario.node_of(name).cards), _card(status)), profile),
        adapts=app.adapt,
    )


def _where(url: str, admin_url: str, app: str) -> tuple[str, str]:
    """Return the admin address ("" where there is none) and the URL of an app."""
    if not url:
        return addresses(admin_url, app)
    if admin_url:
        return admin.address(admin_url, app), url
    wanted = _place(Target.of(url))
    for running in runfile.apps(runfile.directory(os.environ)):
        if _place(Target.of(running.url)) == wanted:
            return running.admin, url
    return "", url


def _place(target: Target) -> tuple[int, str]:
    """Return port and host, of which all names of this machine's own are one."""
    return target.port, LOCALHOST if is_loopback(target.host) else target.host


def _with(target: Target, query: Mapping[str, str]) -> Target:
    """Return a target with more in its query."""
    if not query:
        return target
    return replace(target, path=f"{target.path}{'&' if '?' in target.path else '?'}{urlencode(query)}")


def _content(base: str, wanted: Wanted) -> request.Body:
    """Return what options say to send; SpecError if they do not."""
    if wanted["sample"] == bool(wanted["body"] is not None or wanted["params"]):
        raise SpecError("say what to send: --body, --param name=value, --sample alone, or a --scenario")
    if not wanted["sample"]:
        return request.read(wanted["body"], wanted["params"], wanted["content_type"])
    if not base:
        raise SpecError(
            "--sample asks the app for it, and no app of this user runs there: give --url as well"
        )
    return sample_of(base)


def _card(status: Status | None) -> Card | None:
    """Return the type of the GPUs that an app tells of; None where it has none."""
    if status is None or not status.gpus:
        return None
    first = status.gpus[0]
    return card_of(first.card, sms=first.sms, memory=first.memory, part=first.part)


def _status(base: str) -> Status | None:
    """Return what an app says of itself; None where it cannot be asked."""
    try:
        return admin.get(base, "/status", Status) if base else None
    except admin.AdminError:
        return None
