"""Take a profile of an app: find its GPU, start the process that runs its stages, measure, write the file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from regrain.errors import RegrainError, SpecError
from regrain.manifest import Manifest
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.survey import wanted
from regrain_watchdog.policy.profile import Hop, Profile, ProfileError
from regrain_watchdog.profile import file, hop
from regrain_watchdog.profile.bench import Bench
from regrain_watchdog.profile.inputs import bodies
from regrain_watchdog.profile.seats import seats
from regrain_watchdog.profile.session import Effort, Progress, Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A profile, what could not be or was not measured for it, and whether every point was that was wanted."""

    profile: Profile
    notes: tuple[str, ...]
    is_whole: bool


async def take(
    module: str,
    manifest: Manifest,
    *,
    out: Path,
    inputs: Sequence[Path],
    config: Config,
    effort: Effort,
    told: Callable[[Progress], None],
    resume: bool = True,
) -> Taken:
    """Measure an app and keep its profile in `out`, which is written after each point.

    Args:
        module: the app, as `regrain run` takes it.
        manifest: of it.
        out: where the profile is kept; what it knows of the app's code as it is now is not measured again.
        inputs: files that hold bodies of requests, beside the app's sample.
        config: says which GPUs there are.
        effort: how much is measured.
        told: takes the progress.
        resume: whether to keep what `out` knows.

    Raises:
        RegrainError: it cannot be measured; says why.
    """
    _check(manifest, config, effort)
    requests, notes = bodies(manifest, inputs)
    before = _before(manifest, out) if resume and out.exists() else None
    file.check_writable(out)
    told(Progress(0, 0, "measuring what a hop takes"))
    async with seats(manifest, config) as seat, Bench(module) as bench:
        session = Session(
            manifest,
            requests,
            effort,
            bench,
            seat,
            before,
            save=lambda profile: file.write(out, profile),
            told=told,
            hop=await _hop(),
        )
        profile = await session.run()
    return Taken(profile, (*notes, *session.notes), not session.skipped)


def _check(manifest: Manifest, config: Config, effort: Effort) -> None:
    """Raise SpecError for shares where no stage is measured on a GPU, and for cores where each is."""
    gpus = wanted(config)
    declare = sum(stage.gpu is not None for stage in manifest.stages)
    if effort.shares and not (declare and gpus):
        how = "name one by --gpus" if declare else "leave it out"
        raise SpecError(f"--shares is of a GPU, and no stage of {manifest.app!r} is measured on one: {how}")
    if effort.cores and gpus and declare == len(manifest.stages):
        raise SpecError(f"--cores is of stages without a GPU, and {manifest.app!r} has none: leave it out")


def _before(manifest: Manifest, out: Path) -> Profile:
    """Return an earlier profile of the app; ProfileError where the file is none, or another app's."""
    before = file.read(out)
    if before.app != manifest.app:
        raise ProfileError(
            f"{out} is the profile of app {before.app!r}; name another file by --out, or write over it by --fresh"
        )
    return before


async def _hop() -> Hop | None:
    """Return what a hop takes; None where nothing can be served here, which is said in the log."""
    try:
        return await hop.measure()
    except RegrainError as error:
        logger.warning("what a hop takes was not measured: %s", error)
        return None
