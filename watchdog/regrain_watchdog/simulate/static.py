"""An app of a scenario with its plan and its load: all that a run of it needs, checked against the node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import structs

from regrain import grain
from regrain.errors import SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain_watchdog.policy import cost, resident
from regrain_watchdog.policy import profile as profiles
from regrain_watchdog.policy.cost import Node
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Application, Model, lists, make_model
from regrain_watchdog.policy.profile import Profile
from regrain_watchdog.policy.search.problem import Limits, Problem, measured_shares
from regrain_watchdog.simulate.scenario import AppScenario, Scenario, offered


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Static:
    """An app, its plan and its load.

    Attributes:
        name: in the scenario.
        problem: what it is, is asked for, and may reserve of its node at which prices.
        plan: in force at first. model: the same as numbers. rate: dollars a second that it costs.
        arrivals: its requests.
    """

    name: str
    problem: Problem
    plan: Plan
    model: Model
    rate: float
    arrivals: Arrivals

    @property
    def application(self) -> Application:
        """What it is, costs and is asked for."""
        return self.problem.app


def prepare(scenario: Scenario, name: str, manifest: Manifest) -> Static:
    """Return an app of a scenario with its plan and load.

    Raises:
        SpecError: the scenario lacks something, or says what cannot be; it names the setting.
        ProfileError: the profile is none, or is of other stages.
        OutOfRangeError: the plan has a batch or a share that was not profiled.
    """
    app = scenario.apps[name]
    application = _application(app, f"apps.{name}", manifest)
    node = scenario.node_of(name)
    plan = _plan(app, f"apps.{name}", manifest)
    if not node.cards:
        plan = _on_cpu(plan, application.profile)
    problem = Problem.of(application, node, scenario.prices, limits(app, application, node))
    if problem.card is None and any(group.gpu is not None for group in plan.groups):
        raise SpecError(
            f"apps.{name} needs a GPU, as it was profiled, and the node has none; name them: "
            'gpus = "emulated:v100x1"'
        )
    resident.check(app.resident, manifest.graph.stages)
    arrivals = offered(scenario, name).arrivals
    if arrivals.widths.shape[1] != len(lists(manifest.graph)):
        raise SpecError(
            f"apps.{name}: lists that the flow maps over: {len(lists(manifest.graph))}, of which there are widths: "
            f'{arrivals.widths.shape[1]}; say as many in widths, each such as {{kind = "fixed", value = 3}}, '
            "or in every entry of bodies"
        )
    return Static(
        name=name,
        problem=problem,
        plan=plan,
        model=make_model(application, plan, problem.times),
        rate=problem.cost(plan),
        arrivals=arrivals,
    )


def profile_of(app: AppScenario, manifest: Manifest | None = None) -> Profile:
    """Return the profile that a scenario names; ProfileError, with the file, if it is none or of other code."""
    data = _bytes(app.profile)
    try:
        profile = profiles.loads(data)
        if manifest is not None:
            profile.check({stage.name: stage.digest for stage in manifest.stages})
    except profiles.ProfileError as error:
        raise profiles.ProfileError(f"{app.profile}: {error}") from error
    return profile


def limits(app: AppScenario, application: Application, node: Node) -> Limits:
    """Return the limits on an app's plans: its own, or a live controller's.

    That one gives shares as measured, cores as declared, and pools where there is a GPU.
    """
    if app.limits is not None:
        return app.limits
    shares = measured_shares(application.profile.stages.values()) or (1.0,)
    return Limits(shares=shares, fluid=bool(node.cards))


def overcommitted(scenario: Scenario, apps: Sequence[Static]) -> list[str]:
    """Say where the plans that apps begin with reserve more than their node has."""
    told = []
    for name, shared in scenario.nodes.items():
        here = [app for app in apps if scenario.apps[app.name].node == name]
        groups = [(group, app.problem) for app in here for group in app.plan.groups]
        card = next(iter(shared.node.cards), None)
        gpus = sum(
            cost.reserved(group, problem.app.profile, card) for group, problem in groups if card is not None
        )
        cores = sum(group.replicas * group.cpu for group, _ in groups)
        memory = sum(group.replicas * cost.memory(group, problem.app.profile) for group, problem in groups)
        for what, wanted, there in (
            ("GPUs", gpus, len(shared.node.cards)),
            ("cores", cores, shared.node.cores),
            ("GiB of memory", memory / cost.GIB, shared.node.memory / cost.GIB),
        ):
            if wanted > there + 1e-9:
                which = f"node {name}" if name else "the node"
                told.append(f"the plans reserve {wanted:.4g} {what}, and {which} has {there:.4g}")
    return told


def _application(app: AppScenario, where: str, manifest: Manifest) -> Application:
    if not app.profile:
        raise SpecError(f"{where} must have a profile: run `regrain profile` on the app")
    profile = profile_of(app, manifest)
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
        plan = msgspec.json.decode(_bytes(app.plan), type=Plan)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SpecError(f"{where}.plan: {app.plan} is no plan: {error}") from error
    groups = grain.parse(plan.grain, manifest.graph)
    if set(groups) != {group.stages for group in plan.groups}:
        raise SpecError(f"{where}.plan: the stages of a group must be in the order of {grain.format(groups)}")
    for group in plan.groups:
        if min(group.replicas, group.max_size) < 1 or not min(group.max_wait, group.cpu) >= 0:
            raise SpecError(
                f"{where}.plan: {group.name} in {app.plan} must have replicas and max_size of 1 or more, max_wait and "
                "cpu of 0 or more"
            )
    return plan


def _on_cpu(plan: Plan, profile: Profile) -> Plan:
    """Return a plan as a node without GPUs has it: stages that were profiled on the CPU need none there."""
    return Plan(
        tuple(
            group
            if any(profile.stages[stage].on_gpu for stage in group.stages)
            else structs.replace(group, gpu=None)
            for group in plan.groups
        )
    )


def _bytes(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror}") from error
