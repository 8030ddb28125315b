"""Adaptive granularity in the front: reports to the controller go out, and what it decides comes into force.

A decision goes the way of an operator's change (changes.py), in the same turn, so that neither disturbs the other. What
was decided last, and why, is kept for the admin API and the live page.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from pathlib import Path

from regrain import manifest as manifests
from regrain.errors import RegrainError, SpecError
from regrain.manifest import Manifest, SLOSpec
from regrain.plan import Plan
from regrain_watchdog.front.adapting.course import Course
from regrain_watchdog.front.adapting.mind import Mind
from regrain_watchdog.front.adapting.past import Past
from regrain_watchdog.front.adapting.tally import Counts
from regrain_watchdog.front.adapting.watch import Watch, cores, devices, memory
from regrain_watchdog.front.adapting.words import Brief, Report, Word
from regrain_watchdog.front.changes import Changes
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.standing import ATTAINMENT
from regrain_watchdog.policy import profile as profiles
from regrain_watchdog.policy.profile import ProfileError
from regrain_watchdog.words import configured

logger = logging.getLogger(__name__)

PROFILE = "profile.json"
"""The profile that is looked for beside an app."""


class Adaptation:
    """Keeps the plan in force the one that the controller wants.

    live, changes, measure: of the app. target: the app as it was named. gpus: of the node; None without any.

    Raises:
        SpecError: the app has no objective, the profile that was named is none of this app's, or the decision log
            cannot be written.
    """

    def __init__(
        self,
        live: Live,
        changes: Changes,
        measure: Measure,
        config: Config,
        *,
        target: str,
        gpus: Gpus | None,
    ) -> None:
        self._live = live
        self._changes = changes
        self._measure = measure
        self._config = config
        self._gpus = gpus
        self._watch = Watch(live, measure, gpus)
        self._target = target
        self._slo = objective(config, live.manifest)
        self._lack = ""
        self._profile = find_profile(config, target, live.manifest)
        check_log(config.decision_log, "REGRAIN_DECISION_LOG (--decision-log)")
        self._past = Past()
        self._adopting: asyncio.Future[None] | None = None
        self._said: deque[str] = deque(maxlen=1)
        self._mind = Mind(brief=self._brief, report=self._report, heard=self._hear)
        self._course = Course()

    @property
    def counts(self) -> Counts:
        """What the metrics tell."""
        return self._mind.counts

    def why(self) -> bytes:
        """Return why the plan in force rules, as JSON; an empty object before the first decision."""
        return self._course.why()

    @property
    def trouble(self) -> str:
        """What an operator should know of the controller: why there is none; "" where one decides."""
        reason = self._mind.trouble
        if reason:
            return f"the controller has ended {self.counts.ends} times, and the plan stays: {reason}"
        return self._lack

    def status(self) -> dict[str, object]:
        """Return what the status tells."""
        return {
            "number": self._course.heard,
            "pid": self._mind.pid,
            "predictor": self._config.predictor,
            "trouble": self.trouble,
        }

    def start(self) -> None:
        """Begin to note what arrives, and start the controller."""
        self._watch.start()
        counts = self.counts
        self._measure.adapting = lambda: counts
        self._mind.start()

    def follow(self) -> None:
        """Another version of the app is in force: begin anew with that, and with a profile if there is one of it.

        One without an objective is not adapted.
        """
        manifest = self._live.manifest
        self._past.forget()
        try:
            self._slo, self._lack = objective(self._config, manifest), ""
        except SpecError as error:
            self._lack = f"the version in force is not adapted: {error}"
            logger.warning("%s", self._lack)
            self.counts.predicted = None
            self._mind.rest()
            return
        try:
            self._profile = find_profile(self._config, self._target, manifest)
        except SpecError as error:
            logger.warning("the version in force is adapted without a profile: %s", error)
            self._profile = b""
        self._mind.renew()

    async def stop(self) -> None:
        """End the controller."""
        self._watch.stop()
        await self._mind.stop()

    def _brief(self) -> Brief:
        manifest = self._live.manifest
        return Brief(
            manifest=manifests.dumps(manifest),
            slo=self._slo,
            profile=self._profile,
            devices=devices(self._gpus),
            cores=cores(self._config),
            memory=memory(),
            predictor=self._config.predictor,
            period=self._config.adapt_period,
            log=self._config.decision_log,
            now=time.monotonic(),
            past=self._past.told(),
        )

    def _report(self) -> Report:
        report = self._watch.report(is_changing=self._adopting is not None)
        self._past.add(report)
        return report

    def _hear(self, word: Word) -> None:
        """Take what the controller said."""
        if word.warning:
            logger.warning("%s", word.warning)
        if word.decision:
            self._course.add(word.decision, time.time())
            self.counts.predicted = word.predicted
        if word.plan is not None and self._adopting is None and not self._live.held:
            self._adopting = asyncio.ensure_future(self._adopt(word, word.plan))

    async def _adopt(self, word: Word, plan: Plan) -> None:
        """Put a plan in force; one that cannot be leaves all as it was, and the controller sees it."""
        try:
            await self._changes.adopt(plan, word.placement)
            self.counts.adopted += 1
            logger.info("adapted to %s: %s", configured(plan), word.sentence)
        except RegrainError as error:
            self.counts.refused += 1
            if str(error) not in self._said:
                self._said.append(str(error))
                logger.warning("%s could not be put in force: %s", plan.grain, error)
        finally:
            self._adopting = None


def objective(config: Config, manifest: Manifest) -> SLOSpec:
    """Return what is to be met; SpecError where nothing is."""
    latency = config.latency(manifest)
    if latency is None:
        raise SpecError(
            "REGRAIN_ADAPT (--adapt): the app has no objective to adapt to; "
            "give it one, such as App(slo=SLO(latency=0.3)) or --slo 300ms"
        )
    attainment = manifest.slo.attainment if manifest.slo is not None else ATTAINMENT
    return SLOSpec(latency=latency, attainment=attainment)


def find_profile(config: Config, target: str, manifest: Manifest) -> bytes:
    """Return the profile that is named, or the one beside the app if it is of this code; b"" where there is none.

    Raises:
        SpecError: the one that is named cannot be read, or lacks stages of the app.
    """
    digests = {stage.name: stage.digest for stage in manifest.stages}
    named = Path(config.profile or beside(target))
    try:
        found = named.read_bytes()
        profiles.loads(found).check(digests)
    except OSError as error:
        if config.profile:
            raise SpecError(f"REGRAIN_PROFILE (--profile): {named}: {error.strerror}") from error
        logger.info("there is no %s: what stages cost is learned while they serve", named)
        return b""
    except ProfileError as error:
        if config.profile:
            raise SpecError(f"REGRAIN_PROFILE (--profile): {named}: {error}") from error
        logger.warning("%s is left alone: %s", named, error)
        return b""
    logger.info("what stages cost is as %s says", named)
    return found


def check_log(path: str, name: str) -> None:
    """Raise SpecError, with the name of the setting, where a log cannot be written; "" is none."""
    try:
        if path:
            Path(path).open("ab").close()
    except OSError as error:
        raise SpecError(f"{name}: {path} cannot be written: {error.strerror}") from error


def beside(target: str) -> Path:
    """Return where an app's profile would be; a dotted module's is looked for in this folder."""
    module = Path(target)
    if not module.exists():
        module = Path(target.rpartition(":")[0])
    return (module if module.is_dir() else module.parent) / PROFILE
