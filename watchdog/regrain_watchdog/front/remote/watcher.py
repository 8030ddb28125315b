"""What a pod tells the controller that adapts the plan of all pods together: its own part of the load."""

from __future__ import annotations

import time
from dataclasses import replace
from http import HTTPStatus

import msgspec

from regrain.errors import RequestError
from regrain.manifest import SLOSpec
from regrain_watchdog.front.adapting.tally import Counts
from regrain_watchdog.front.adapting.watch import Watch, cores, devices, memory
from regrain_watchdog.front.adapting.words import Watched
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.standing import ATTAINMENT

SILENCE = 10.0
"""Seconds after which a controller is away that asked once a second; a look of it may wait 2 s for a pod.

What came before is told to none: pods that keep more and less of it would show a load that has ceased.
"""
_encode = msgspec.msgpack.Encoder().encode


class Watcher:
    """Notes the load from the first time on that it is asked for.

    live, measure: of the app, which from then on tells whether somebody asks. gpus: of the node; None without any.

    Attributes:
        counts: what the metrics tell of the controller, but whether it can be reached.
    """

    def __init__(self, live: Live, measure: Measure, config: Config, gpus: Gpus | None) -> None:
        self._live = live
        self._measure = measure
        self._config = config
        self._gpus = gpus
        self._watch: Watch | None = None
        self._asked = self._taken = 0.0
        self.counts = Counts()

    def watched(self) -> bytes:
        """Return what happened since the last time; RequestError (409) where the pod adapts its plan itself."""
        config, manifest = self._config, self._live.manifest
        if config.adapt:
            raise RequestError(HTTPStatus.CONFLICT, "this pod adapts its plan itself (--adapt)")
        now = time.monotonic()
        if self._watch is None:
            self._watch = Watch(self._live, self._measure, self._gpus)
            self._watch.start()
        elif now - self._taken > SILENCE:
            self._watch.report()
        self._taken = now
        latency = config.latency(manifest)
        if latency is not None:  # else nobody adapts to it
            self._asked = now
            self._measure.adapting = self.told
        attainment = manifest.slo.attainment if manifest.slo is not None else ATTAINMENT
        return _encode(
            Watched(
                report=self._watch.report(),
                slo=SLOSpec(latency=latency, attainment=attainment) if latency is not None else None,
                devices=devices(self._gpus),
                cores=cores(config),
                memory=memory(),
            )
        )

    def told(self) -> Counts:
        """Return what the metrics tell of the controller: it can be reached as long as it asks."""
        return replace(self.counts, lives=time.monotonic() - self._asked < SILENCE)

    def forget(self) -> None:
        """Nobody adapts the plan, as far as is known: what was decided is over."""
        self.counts.predicted = None
        if self._watch is not None:  # else the pod may adapt itself
            self._measure.adapting = None
