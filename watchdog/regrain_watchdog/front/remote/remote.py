"""The groups of an app that other pods run for this one, and what this one runs for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec import structs

from regrain.errors import SpecError
from regrain.grain import JOIN, make_plan
from regrain.manifest import Manifest
from regrain.plan import Group, Plan
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.handler import Handler
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.remote.assignee import Assignee
from regrain_watchdog.front.remote.guests import Guests
from regrain_watchdog.front.remote.line import Terms
from regrain_watchdog.front.remote.peer import Peer
from regrain_watchdog.front.remote.pod import Pod
from regrain_watchdog.front.remote.reception import Reception
from regrain_watchdog.front.remote.watcher import Watcher
from regrain_watchdog.front.service import App
from regrain_watchdog.front.upstream.upstream import Address

if TYPE_CHECKING:
    from regrain_watchdog.front.changes import Changes

logger = logging.getLogger(__name__)

ALLOWED = (
    'stages or groups with the URLs of pods, such as "recognise=http://10.0.0.7:8080 http://10.0.0.8:8080"'
)
PART = 4
"""A frame has a quarter of the shared memory at most."""

Homes = Mapping[str, Sequence[str]]
"""By stage, the URLs of the pods that run it."""


class Remote:
    """Sends groups to the pods that have them, and serves others.

    Args:
        config: how the app is served.
        secret: what pods sign their requests with.

    Attributes:
        homes: which pods have which stages; a change counts for plans made from then on.
    """

    guests: Guests
    _assignee: Assignee

    def __init__(self, config: Config, secret: str) -> None:
        self.homes: Homes = {}
        self._config = config
        self._secret = secret
        self._limit = config.memory // PART
        self._pods: dict[tuple[str, str], Pod] = {}

    @classmethod
    def configured(cls, config: Config, manifest: Manifest) -> Remote | None:
        """Return what the settings ask for; None where pods share no secret. SpecError for what they do not allow."""
        key = Key.load(config.remote_key_file, "remote_key_file")
        if key is None:
            return None
        made = cls(config, key.secret)
        made.homes = parse(config.remote, manifest)
        return made

    def open(self, live: Live, changes: Changes, measure: Measure, gpus: Gpus | None) -> None:
        """Serve others by what is in force from here on, and do what a controller says; `gpus`: of the node."""
        config = self._config

        def make(crew: Crew, grain: str) -> App:
            plan = make_plan(crew.manifest, grain, "", config.gpu_shares)
            empty = Plan(tuple(structs.replace(group, replicas=0) for group in plan.groups))
            failed = "a plan for guests broke: %s"
            return App(
                empty,
                crew,
                max_queue=config.max_queue,
                measure=measure,
                failed=lambda error: logger.warning(failed, error),
            )

        self.guests = Guests(live, make)
        watcher = Watcher(live, measure, config, gpus)
        self._assignee = Assignee(live, changes, self.guests, watcher)

    def before(self, inner: Handler) -> Handler:
        """Return what answers other pods, and hands everything else to `inner`."""
        limit, timeout = self._limit, self._config.body_timeout
        return Reception(
            inner, self.guests, self._assignee, secret=self._secret, limit=limit, timeout=timeout
        )

    def why(self) -> bytes | None:
        """Return why the plan of all pods rules, as JSON; None where no controller adapts it."""
        return self._assignee.why()

    @property
    def epoch(self) -> int:
        """The number of the assignment in force; 0 before the first."""
        return self.guests.epochs.current

    def status(self) -> dict[str, object]:
        """Return what the status tells of the assignment, and of whoever adapts the plan of all pods."""
        adapting = {} if self.why() is None else {"adapting": {"number": self._assignee.heard}}
        return {"epoch": self.epoch, **adapting}

    def placed(self, plan: Plan, manifest: Manifest, homes: Homes | None = None) -> Plan:
        """Return a plan with no replicas here of the groups that others have, by `homes` if given, else by its own."""
        return Plan(
            tuple(
                structs.replace(group, replicas=0) if self._urls(group, manifest, homes) else group
                for group in plan.groups
            )
        )

    def join(self, app: App, homes: Homes | None = None) -> None:
        """Give the functions of a plan their peers; as `placed`."""
        for function in app.functions:
            if function.pool is None:
                for url in self._urls(function.group, app.manifest, homes):
                    pod = self._pod(url, app.manifest.digest)
                    Peer(pod, function, app.crew, app.route.plan.grain, self._config.hang_timeout)

    async def stop(self) -> None:
        """End what is only there for others."""
        await self.guests.stop()

    def _urls(self, group: Group, manifest: Manifest, homes: Homes | None) -> list[str]:
        """Return the pods that have all stages of a group; none for one that is fluid, or streams."""
        if group.fluid is not None or any(manifest.stage(name).streams for name in group.stages):
            return []
        homes = self.homes if homes is None else homes
        first, *further = (homes.get(name, ()) for name in group.stages)
        return [url for url in first if all(url in urls for urls in further)]

    def _pod(self, url: str, version: str) -> Pod:
        pod = self._pods.get((url, version))
        if pod is None:
            terms = Terms(
                secret=self._secret,
                version=version,
                epoch=lambda: self.guests.epochs.current,
                limit=self._limit,
            )
            pod = self._pods[url, version] = Pod(url, terms, partial(self._pods.pop, (url, version)))
        return pod


def parse(text: str, manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """Read which pods have which stages; SpecError for anything else, or stages that the app does not have."""
    homes: dict[str, tuple[str, ...]] = {}
    names = manifest.graph.stages
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        name, _, urls = entry.partition("=")
        stages = [stage.strip() for stage in name.split(JOIN)]
        unknown = next((stage for stage in stages if stage not in names), None)
        if unknown is not None:
            raise SpecError(f"remote {text!r}: there is no stage {unknown!r}; there are {', '.join(names)}")
        if not urls.split():
            raise SpecError(f"remote {text!r}: {entry!r} names no pod; allowed are {ALLOWED}")
        for url in urls.split():
            check(url)
        homes.update(dict.fromkeys(stages, tuple(urls.split())))
    return homes


def check(url: str) -> None:
    """SpecError unless a URL is a pod's."""
    try:
        Address.parse(url)
    except SpecError as error:
        raise SpecError(f"a pod's URL was {url!r}, allowed is http://HOST:PORT") from error
