"""One app that is served, from its first process to the last, without ports, signals and the end of our own process.

`regrain run` serves one (server.py), the gateway's front many beside each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from regrain.errors import LoadError, RequestError, SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.request import Request
from regrain_watchdog.front.adapting.adaptation import Adaptation
from regrain_watchdog.front.changes import Changes, Release, make_crew
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.content import Inputs
from regrain_watchdog.front.entrance import Entrance
from regrain_watchdog.front.gpus import Gpus, open_gpus
from regrain_watchdog.front.http import Ingress
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.remote.remote import Remote
from regrain_watchdog.front.service import App
from regrain_watchdog.front.zygote import PAUSES, Birth, DiedError, Zygote

if TYPE_CHECKING:
    from regrain_watchdog.front.tracing.export import Export

logger = logging.getLogger(__name__)


class Hosted:
    """An app: `hello`, `load` and `start` it, have `door` answer requests, `drain`, and at the end `close` it.

    Args:
        config: how it is served.
        target: its module.
        birth: how its processes are started.
        entered: told when another version of its code has come into force.
        export: what takes the spans of its requests; None where they are not recorded.

    Attributes:
        failure: done, with an error, once it cannot be served any more.
        live, changes, measure, door, adaptation, gpus, remote: its parts, once it is loaded; the last three or None.
    """

    live: Live
    changes: Changes
    measure: Measure
    door: Entrance

    def __init__(
        self,
        config: Config,
        target: str,
        *,
        birth: Birth | None = None,
        entered: Callable[[], None] = lambda: None,
        export: Export | None = None,
    ) -> None:
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.adaptation: Adaptation | None = None
        self.gpus: Gpus | None = None
        self.remote: Remote | None = None
        self._config = config
        self._target = target
        self._birth = birth or Birth()
        self._entered = entered
        self._export = export
        self._numbers = count(1)
        self._zygote: Zygote | None = None
        self._rebirth: asyncio.Future[None] | None = None
        self._loaded = False
        self._draining = False

    @property
    def is_loaded(self) -> bool:
        """Whether it has its parts."""
        return self._loaded

    async def hello(self) -> Manifest:
        """Import its module, in a process of its own; LoadError says why it is no app."""
        self._zygote = self._make_zygote()
        return await self._zygote.hello(self._config.start_timeout)

    async def load(self, manifest: Manifest) -> None:
        """Make its parts; no replica runs yet. GrainError and SpecError for settings that it cannot be served by."""
        config, zygote = self._config, self._zygote
        if zygote is None:
            raise RuntimeError("an app says hello before it is loaded")
        plan = make_plan(manifest, config.grain or manifest.grain, config.replicas, config.gpu_shares)
        traces = self._export.traces(manifest.app) if self._export is not None else None
        self.measure = Measure(latency=config.latency(manifest), traces=traces)
        release = Release(zygote, manifest)
        gpus = self.gpus = await open_gpus(manifest.app, config, plan, manifest)
        crew = make_crew(release, config, config.resident, gpus)
        remote = self.remote = Remote.configured(config, manifest)
        if remote is not None:
            plan = remote.placed(plan, manifest)
        app = App(
            plan,
            crew,
            max_queue=config.max_queue,
            max_items=config.max_items,
            measure=self.measure,
            failed=self.fail,
        )
        self.live = Live(app, patience=config.start_timeout, sample=sample_values, swapped=self._put_before)
        self.changes = Changes(
            self.live,
            release,
            config,
            self.measure,
            self._make_zygote,
            died=self._zygote_died,
            gpus=gpus,
            remote=remote,
        )
        if remote is not None:
            remote.open(self.live, self.changes, self.measure, gpus)
            remote.join(app)
        self._loaded = True
        if config.adapt:
            self.adaptation = Adaptation(
                self.live, self.changes, self.measure, config, target=self._target, gpus=gpus
            )
        self.door = Entrance(Ingress(self.live, self.measure, config))

    async def start(self) -> bool:
        """Start the replicas and warm them up; whatever goes wrong is raised."""
        app, patience = self.live.current, self._config.start_timeout
        starting = asyncio.ensure_future(app.start(sample_values(app.manifest)))
        done, _ = await asyncio.wait(
            {starting, self.failure}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            starting.cancel()
            raise LoadError(f"not ready after {patience:g} s: {app.unready()}")
        if starting not in done:
            starting.cancel()
        for task in done:
            task.result()
        return True

    def fail(self, error: Exception) -> None:
        """Have whoever serves the app know that it cannot be served."""
        if not self.failure.done():
            self.failure.set_exception(error)

    async def drain(self) -> None:
        """Say that the app is to stop; calls are still served."""
        self._draining = True
        self.live.drain()
        self.door.drain()
        if self.adaptation is not None:
            await self.adaptation.stop()

    def kill(self) -> None:
        """End every process at once."""
        self._draining = True
        if self._loaded:
            self.live.kill()
        elif self._zygote is not None:
            self._zygote.kill()

    async def close(self) -> None:
        """Let go of whatever is left of it, its zygotes and GPUs."""
        self._draining = True
        if self._rebirth is not None:
            self._rebirth.cancel()
            await asyncio.wait({self._rebirth})
        if self.adaptation is not None:
            await self.adaptation.stop()
        if self.remote is not None:
            await self.remote.stop()
        if self._loaded:
            await self.changes.stop()
        elif self._zygote is not None:
            await self._zygote.stop()
        if self.gpus is not None:
            self.gpus.stop()

    def status(self) -> dict[str, object]:
        """What GET /status tells of it."""
        if not self._loaded:
            return {}
        return {
            **self.live.status(),
            **({"gpus": self.gpus.status()} if self.gpus is not None else {}),
            **(self.remote.status() if self.remote is not None else {}),
            **({"adapting": self.adaptation.status()} if self.adaptation is not None else {}),
        }

    def why(self) -> bytes | None:
        """Return why the plan in force rules, as JSON; None where only operators change it."""
        if self.adaptation is not None:
            return self.adaptation.why()
        return self.remote.why() if self.remote is not None else None

    def _put_before(self, app: App) -> None:
        """A plan comes into force: where its code is another version, so are its parameters and its answer."""
        if app.manifest == self.door.ingress.manifest:
            return
        app.measure.latency = self._config.latency(app.manifest)
        self.door.enter(Ingress(self.live, app.measure, self._config))
        if self.adaptation is not None:
            self.adaptation.follow()
        self._entered()

    def _zygote_died(self, zygote: Zygote, reason: str) -> None:
        """Replicas outlive their zygote; a new one is started so that they can be replaced."""
        if self._draining or not self._loaded:
            self.fail(LoadError(reason))
            return
        if not self.changes.lost(zygote):
            logger.warning("%s; it was of no version in force", reason)
            return
        logger.error("%s; starting it again", reason)
        self._rebirth = asyncio.ensure_future(self._start_zygote())

    async def _start_zygote(self) -> None:
        """Replace a zygote that died; one that dies at its start is replaced itself."""
        live = self.live
        try:
            for pause in PAUSES:
                with contextlib.suppress(DiedError):
                    return await self._adopt()
                await asyncio.sleep(pause)
            await self._adopt()
        except LoadError as error:
            if self._is_bereft:
                live.trouble = f"replicas that end are not replaced until `regrain update`: {error}"
                logger.error("%s", live.trouble)

    @property
    def _is_bereft(self) -> bool:
        """Whether the version in force has lost its zygote, and has no other."""
        release = self.changes.release
        return bool(release.zygote.died_of) and release.manifest is self.live.manifest

    async def _adopt(self) -> None:
        """Start a zygote and have it serve the version in force, unless an update has brought another one meanwhile."""
        live = self.live
        zygote = self._make_zygote()
        try:
            manifest = await zygote.hello(self._config.start_timeout)
            if not self._is_bereft:
                await zygote.stop()
                return
            if manifest.digest != live.manifest.digest:
                raise LoadError(f"{self._target} has changed since it was loaded")
            if zygote.died_of:  # between its word and now, when it was of no version
                raise DiedError(zygote.died_of)
        except BaseException:
            await zygote.stop()
            raise
        self._zygote = zygote
        self.changes.release = Release(zygote, live.manifest)
        live.current.crew.use_zygote(zygote)

    def _make_zygote(self) -> Zygote:
        logs = {"REGRAIN_LOG_LEVEL": self._config.log_level, "REGRAIN_LOG_FORMAT": self._config.log_format}
        zygote = Zygote(
            self._target,
            died=lambda reason: self._zygote_died(zygote, reason),
            exited=self._exited,
            environment=logs,
            numbers=self._numbers,
            birth=self._birth,
        )
        return zygote

    def _exited(self, number: int, status: int) -> None:
        if self._loaded:
            self.live.exited(number, status)


def sample_values(manifest: Manifest) -> dict[str, object] | None:
    """Return the parameters of an app's sample; None if it has none, SpecError if it is no request for the app."""
    sample = manifest.sample
    if sample is None:
        return None
    raw = next((parameter.name for parameter in manifest.parameters if parameter.kind == "request"), "")
    if raw:
        headers = {"content-type": sample.content_type}
        return {raw: Request(body=sample.body, headers=headers, method="POST", query={}, path="/")}
    try:
        return Inputs(manifest.parameters).read(sample.body, sample.content_type, "")
    except RequestError as error:
        raise SpecError(f"the app's sample is no request for it: {error.detail}") from error
