"""An app of a scenario under one plan that stays in force: all that a run of it needs, checked against the node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from regrain.errors import SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain_watchdog.policy import cost
from regrain_watchdog.policy import profile as profiles
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Application, Model, lists, make_model
from regrain_watchdog.policy.service import ServiceTime
from regrain_watchdog.simulate.scenario import AppScenario, Scenario, offered


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Static:
    """An app, its plan and its load.

    Attributes:
        name: in the scenario.
        application: what it is, costs and is asked for.
        plan: in force all the time. model: the same as numbers. rate: dollars a second that it costs.
        arrivals: its requests.
    """

    name: str
    application: Application
    plan: Plan
    model: Model
    rate: float
    arrivals: Arrivals


def prepare(scenario: Scenario, name: str, manifest: Manifest) -> Static:
    """Return an app of a scenario with its plan and load.

    Raises:
        SpecError: the scenario lacks something, or says what cannot be; it names the setting.
        ProfileError: the profile is none, or is of other stages.
        OutOfRangeError: the plan has a batch or a share that was not profiled.
    """
    app = scenario.apps[name]
    application = _application(app, f"apps.{name}", manifest)
    plan = _plan(app, f"apps.{name}", manifest)
    card = next(iter(scenario.node.cards), None)
    if card is None and any(group.gpu is not None for group in plan.groups):
        raise SpecError(
            f'apps.{name} needs a GPU, and the node has none; name them: gpus = "emulated:v100x1"'
        )
    times = {stage: ServiceTime.of(stage, profile) for stage, profile in application.profile.stages.items()}
    arrivals = offered(scenario, name).arrivals
    if arrivals.widths.shape[1] != len(lists(manifest.graph)):
        raise SpecError(
            f"apps.{name}: the flow maps over {len(lists(manifest.graph))} lists, and there are widths of "
            f"{arrivals.widths.shape[1]}; say as many in widths, or in every entry of bodies"
        )
    return Static(
        name=name,
        application=application,
        plan=plan,
        model=make_model(application, plan, times),
        rate=cost.rate(plan, application.profile, scenario.prices, card),
        arrivals=arrivals,
    )


def overcommitted(scenario: Scenario, apps: list[Static]) -> list[str]:
    """Say where plans together reserve more than the node has."""
    told = []
    card = next(iter(scenario.node.cards), None)
    gpus = sum(
        cost.reserved(group, app.application.profile, card)
        for app in apps
        for group in app.plan.groups
        if card is not None
    )
    cores = sum(group.replicas * group.cpu for app in apps for group in app.plan.groups)
    for what, wanted, there in (
        ("GPUs", gpus, len(scenario.node.cards)),
        ("cores", cores, scenario.node.cores),
    ):
        if wanted > there + 1e-9:
            told.append(f"the plans reserve {wanted:g} {what}, and the node has {there:g}")
    return told


def _application(app: AppScenario, where: str, manifest: Manifest) -> Application:
    if not app.profile:
        raise SpecError(f"{where} must have a profile: run `regrain profile` on the app")
    profile = profiles.loads(_bytes(app.profile))
    profile.check({stage.name: stage.digest for stage in manifest.stages})
    slo = app.slo or manifest.slo
    if slo is None:
        raise SpecError(
            f'{where} must have an slo, as the app has none: slo = {{latency = "800ms", attainment = 0.95}}'
        )
    return Application(manifest=manifest, profile=profile, slo=slo)


def _plan(app: AppScenario, where: str, manifest: Manifest) -> Plan:
    if not app.plan:
        return make_plan(manifest, app.grain or manifest.grain, app.replicas, app.shares)
    try:
        return msgspec.json.decode(_bytes(app.plan), type=Plan)
    except msgspec.MsgspecError as error:
        raise SpecError(f"{where}.plan: {app.plan} is no plan: {error}") from error


def _bytes(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror}") from error
