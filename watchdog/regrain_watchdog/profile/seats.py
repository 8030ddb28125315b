"""The GPU on which an app's stages are timed: ours alone, under leases of every share that is to be measured."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import structs

from regrain.cards import CARDS, PREFIX
from regrain.errors import SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.plan import GpuShare, Group, Plan
from regrain.wire.frames import Entitle
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.gpus import Gpus, open_gpus
from regrain_watchdog.front.survey import wanted
from regrain_watchdog.gpu.nvml import NvmlError, NvmlObserver

STEPS = 20
"""Shares of a GPU that are measured: so many parts of it, rounded up to whole SMs. The least of them is the least that
emulated models were measured on."""
CLOSE = 1e-6
BENCH = 1


class Seats:
    """A seat on one GPU.

    Attributes:
        device: the type of GPU.
        sms: of it.

    entitled: what the process is entitled to, with the whole GPU.
    """

    def __init__(self, device: str, sms: int, entitled: Entitle) -> None:
        self.device = device
        self.sms = sms
        self._entitled = entitled
        self._observer: NvmlObserver | None = None
        if entitled.uuid:
            with contextlib.suppress(NvmlError):  # then nobody knows what it holds
                self._observer = NvmlObserver(entitled.uuid)

    def shares(self) -> tuple[float, ...]:
        """Return the shares to measure, each of whole SMs."""
        sms = {math.ceil(self.sms * step / STEPS - CLOSE) for step in range(1, STEPS + 1)}
        return tuple(count / self.sms for count in sorted(sms))

    def entitle(self, share: float) -> Entitle:
        """Return what the process is entitled to with a share of the GPU; SpecError if it cannot be leased."""
        if self._entitled.scenario:
            CARDS[self.device].check_lease("a stage", share)
        return structs.replace(self._entitled, fraction=share)

    def held(self, pid: int, told: int) -> int:
        """Return the bytes of the GPU that a process holds: what it was told, or the driver's word on a real one."""
        return self._observer.used().get(pid, told) if self._observer is not None else told


@contextlib.asynccontextmanager
async def seats(manifest: Manifest, config: Config) -> AsyncIterator[Seats | None]:
    """Have a GPU for the length of a block; None where no stage needs one, or there is none to be had.

    Raises:
        SpecError: a setting is none, or what the stages declare does not fit.
        LeaseError: no arbiter serves where the settings say.
    """
    named = wanted(config)
    if not named or not any(stage.gpu is not None for stage in manifest.stages):
        yield None
        return
    group = _whole(manifest)
    with tempfile.TemporaryDirectory(prefix="regrain-profile-") as folder:
        if named.startswith(PREFIX):
            config = undrifted(config, Path(folder))
        gpus = await open_gpus(manifest.app, config, Plan((group,)))
        if gpus is None:
            raise SpecError(f"gpus was {named!r}, which names none")
        try:
            yield _seat(gpus, group)
        finally:
            gpus.stop()


def undrifted(config: Config, folder: Path) -> Config:
    """Return settings whose scenario has no drift: that is what changes after a profile was taken.

    Nothing else of the scenario is looked at. One that cannot be read stays as it is, for its reader to refuse.
    """
    path = Path(config.scenario)
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError):
        return config
    section = found.get("emulated") if isinstance(found, dict) else None
    stages = section.get("stages") if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(stages, dict):
        return config
    section["drift"] = 0.0
    for stage in stages.values():
        if isinstance(stage, dict):
            stage.pop("drift", None)
    kept = {"emulated": section}
    (folder / "scenario.json").write_text(json.dumps(kept))
    return Config(gpus=config.gpus, gpu_folder=config.gpu_folder, scenario=str(folder / "scenario.json"))


def _whole(manifest: Manifest) -> Group:
    """Return all stages as one group, with a whole GPU."""
    (group,) = make_plan(manifest, "coarse").groups
    return structs.replace(group, replicas=1, gpu=structs.replace(group.gpu or GpuShare(), fraction=1.0))


def _seat(gpus: Gpus, group: Group) -> Seats:
    entitled = gpus.seat(BENCH, group)
    if entitled is None:
        raise SpecError("no GPU has room for the app")
    found = gpus.cards[entitled.device]
    return Seats(found.name, found.sms, entitled)
