"""Call the bodies of stages: one by one, or a batched one once for many, with bad items kept apart from good ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from regrain.answers import Answer
from regrain.context import Context, entered
from regrain.errors import RegrainError
from regrain.lazy_numpy import is_array
from regrain.manifest import StageSpec
from regrain.wire.codec import fresh
from regrain.wire.detach import Lost, detach

ENDS = (KeyboardInterrupt, SystemExit)
"""What ends the process. All else that a stage raises ends its own call, also what is no Exception: libraries in Rust
panic so, and asyncio is cancelled."""
NOT_ALONE = (
    "regrain.answer() was called for several requests at once, by a batched stage that is not idempotent"
)


@dataclass(slots=True)
class Job:
    """One call to make: its request's context, arguments by position and name; `result` or `error` afterwards.

    The arguments stay as they are. What a call gets, `given` and `named`, is a copy of its own, which it may change and
    then fail.

    give: takes the items of a stage that streams.
    """

    context: Context
    args: tuple[object, ...]
    kwargs: dict[str, object]
    give: Callable[[object], bool] | None = None
    result: object = None
    error: BaseException | None = None
    given: tuple[object, ...] = field(init=False)
    named: dict[str, object] = field(init=False)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Copy the arguments for the next call."""
        self.given = tuple(map(fresh, self.args))
        self.named = {key: fresh(value) for key, value in self.kwargs.items()}


def call_each(body: Callable[..., object], jobs: list[Job]) -> int:
    """Call a body once for each job; return how often it was called. What a call gave, no later one changes."""
    for job in jobs:
        with entered((job.context,)):
            try:
                job.result = body(*job.given, **job.named)
            except ENDS:
                raise
            except BaseException as error:
                job.error = error
        if job is not jobs[-1]:
            set_apart([job])
    return len(jobs)


def call_batch(spec: StageSpec, body: Callable[..., object], jobs: list[Job]) -> int:
    """Call a batched body once; if that fails and the stage is idempotent, each input alone."""
    args = [list(column) for column in zip(*(job.given for job in jobs), strict=True)]
    kwargs = {key: [job.named[key] for job in jobs] for key in jobs[0].named}
    with entered([job.context for job in jobs]):
        try:
            results = _results(spec.name, body(*args, **kwargs), len(jobs))
        except ENDS:
            raise
        except BaseException as error:
            if len(jobs) > 1 and spec.idempotent and not isinstance(error, _BadResultError):
                return 1 + sum(_call_alone(spec, body, job) for job in jobs)
            if len(jobs) > 1 and isinstance(error, Answer):
                error = RegrainError(NOT_ALONE)  # an answer is for one caller's eyes
            for job in jobs:
                job.error = error
            return 1
    for job, result in zip(jobs, results, strict=True):
        job.result = result
    return 1


def _call_alone(spec: StageSpec, body: Callable[..., object], job: Job) -> int:
    """Call it on one input of a batch that failed, and may have been changed before."""
    try:
        job.renew()
    except Exception as error:  # of memory for it
        job.error = error
        return 0
    calls = call_batch(spec, body, [job])
    set_apart([job])
    return calls


def set_apart(jobs: Sequence[Job]) -> None:
    """Copy what a call gave for these jobs and its stage still holds, before that is called again and changes it."""
    handed = [value for job in jobs for value in (*job.args, *job.kwargs.values())]
    for job, gave in zip(jobs, detach([_take(job) for job in jobs], handed), strict=True):
        if isinstance(gave, Lost):
            job.error = gave.error
        elif isinstance(job.error, Answer):
            job.error.value = gave
        else:
            job.result = gave


def _take(job: Job) -> object:
    """Return what a call gave, which the job holds no more; nor do its arguments, or the frames of an answer."""
    gave, job.result = job.result, None
    job.given, job.named = (), {}
    if isinstance(job.error, Answer):
        job.error.__traceback__ = None
        gave, job.error.value = job.error.value, None
    return gave


class _BadResultError(RegrainError):
    """A batched body returned something else than a list of the right length."""


def _results(stage: str, returned: object, count: int) -> Sequence[object]:
    if not (isinstance(returned, list | tuple) or is_array(returned)):
        raise _BadResultError(
            f"batched stage {stage!r} must return a list, one result per input, "
            f"it returned {type(returned).__name__}"
        )
    if len(returned) != count:
        raise _BadResultError(f"batched stage {stage!r} returned {len(returned)} results for {count} inputs")
    return list(returned)
