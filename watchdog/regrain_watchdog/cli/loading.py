"""Send the loads of some apps, take down what the apps reserve meanwhile, and report what came of it."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Literal

from regrain.errors import RegrainError
from regrain.plan import Lane
from regrain_watchdog.cli import admin
from regrain_watchdog.cli.admin import GroupStatus, Replica, Status, problem
from regrain_watchdog.cli.course import Course
from regrain_watchdog.cli.loadline import LoadLine
from regrain_watchdog.cli.why import Why
from regrain_watchdog.load.drive import INTERRUPTED, Limits, Sent, run
from regrain_watchdog.load.report import AppReport, Report, judge, results, summarise
from regrain_watchdog.load.spend import Held
from regrain_watchdog.words import duration

LOOK = 1.0
"""Seconds between two looks at what the apps reserve."""
BEHIND = 0.01
"""Seconds of lateness of this generator, at its 99th percentile, from which the report says so."""
OVERLOAD = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
"""Answers whose reason is the load itself."""
LIVE: Literal["live"] = "live"


class NoAnswerError(RegrainError):
    """No request of a load was answered."""


def live(
    courses: Sequence[Course],
    limits: Limits,
    seconds: float,
    *,
    scenario: str,
    seed: int,
    notes: Sequence[str],
) -> Report:
    """Send all loads at once and return what came of them.

    Args:
        courses: the apps and their loads.
        limits: of connections and time.
        seconds: that requests arrive.
        scenario: the file that says so, or "".
        seed: by which it was drawn.
        notes: what a reader of the report should know.

    Raises:
        NoAnswerError: not one request was answered; it says why.
    """
    jobs = list(
        heapq.merge(*(course.jobs(place) for place, course in enumerate(courses)), key=lambda job: job.at)
    )
    began, start = time.time(), time.monotonic()
    targets = [course.target for course in courses]
    with LoadLine(seconds, len(jobs)) as line:
        whole = run(jobs, targets, limits, partial(_done, courses, line), partial(_watch, courses, start))
    took = time.monotonic() - start
    _check(courses)
    return Report(
        source=LIVE,
        began=began,
        took=took,
        scenario=scenario,
        seed=seed,
        duration=seconds,
        interrupted=not whole,
        notes=(*notes, *_remarks(courses)),
        apps=tuple(_told(course, seconds if whole else min(took, seconds)) for course in courses),
    )


def _done(courses: Sequence[Course], line: LoadLine, sent: Sent, body: bytes) -> None:
    """Keep what came of a request, and show it."""
    course = courses[sent.target]
    course.sent.append(sent)
    if sent.status >= HTTPStatus.BAD_REQUEST and sent.status not in OVERLOAD:
        course.refused.setdefault(sent.status, body)
    line.add(judge(sent, course.slo.latency if course.slo is not None else None), sent.latency)


async def _watch(courses: Sequence[Course], start: float) -> None:
    """Look at what the apps reserve, for as long as this is let run."""
    while True:
        await asyncio.gather(*(asyncio.to_thread(look, course, start) for course in courses if course.base))
        await asyncio.sleep(LOOK)


def _told(course: Course, seconds: float) -> AppReport:
    slo = course.slo.latency if course.slo is not None else None
    return summarise(
        course.name,
        results(course.sent, slo),
        seconds,
        slo=slo,
        attainment=course.slo.attainment if course.slo is not None else None,
        spending=course.meter.spending,
        grains=course.meter.grains,
        decisions=course.decided.so_far(),
        sent=course.sent,
    )


def _check(courses: Sequence[Course]) -> None:
    """Raise NoAnswerError where nobody answered."""
    silent = [_silence(course) for course in courses if course.sent]
    if silent and all(silent):
        raise NoAnswerError("; ".join(silent))


def _silence(course: Course) -> str:
    """Say that an app answered nothing; "" where it did, or nobody waited for it."""
    if not course.sent or any(sent.status or sent.error == INTERRUPTED for sent in course.sent):
        return ""
    (reason, _), *_ = Counter(sent.error for sent in course.sent).most_common(1)
    where = f"{course.target.host}:{course.target.port}"
    return f"{course.name}: none of {len(course.sent)} requests to {where} was answered: {reason}"


def _remarks(courses: Sequence[Course]) -> list[str]:
    """Say what a reader should know of how it was measured."""
    remarks = [said for course in courses if (said := _silence(course))]
    remarks += [
        f"{course.name}: no objective is known, so that any answer is a hit: --slo, or slo in a scenario, says one"
        for course in courses
        if course.slo is None
    ]
    remarks += [
        f"{course.name}: cost unknown: {course.meter.lacking}" for course in courses if course.meter.lacking
    ]
    remarks += [
        f"{course.name}: the scenario says that it adapts, and the app that runs was not seen to: "
        "regrain run --adapt"
        for course in courses
        if course.adapts and course.decided.so_far() is None
    ]
    remarks += [
        f"{course.name}: {sum(sent.status == status for sent in course.sent)} requests were answered {status}"
        + (f": {why}" if (why := problem(body)) else "")
        for course in courses
        for status, body in sorted(course.refused.items())
    ]
    late = sorted(sent.late for course in courses for sent in course.sent)
    if late and late[len(late) * 99 // 100] > BEHIND:
        behind = duration(late[len(late) * 99 // 100])
        remarks.append(
            f"this generator was up to {behind} late (p99); latencies hold that: use less load or more cores"
        )
    return remarks


def look(course: Course, start: float) -> None:
    """Take down what an app reserves now; if it cannot be asked, what was seen last goes on."""
    try:
        status = admin.get(course.base, "/status", Status)
    except admin.AdminError:
        return
    course.meter.take(time.monotonic() - start, status.grain, _reserved(status))
    if not course.is_asked:
        return
    try:
        course.decided.take(admin.get(course.base, "/why", Why).decision)
    except admin.AdminError as error:
        course.is_asked = error.status != HTTPStatus.NOT_FOUND  # by which an app says that it is not adapted


def _reserved(status: Status) -> list[Held]:
    """Return what each group holds, those of other plans during a change too; one that stands in counts once."""
    groups = [*status.groups, *status.beside]
    counted = {replica.pid for group in groups for replica in group.replicas if not replica.guest}
    held = []
    for group in groups:
        guests = [replica for replica in group.replicas if replica.guest and replica.pid not in counted]
        counted.update(replica.pid for replica in guests)
        held.append(_held(group, [replica for replica in group.replicas if not replica.guest] + guests))
    return held


def _held(group: GroupStatus, replicas: Sequence[Replica]) -> Held:
    return Held(
        stages=tuple(group.stages),
        max_size=group.max_size,
        replicas=len(replicas),
        cpu=group.cpu,
        gpu=group.gpu,
        memory=sum(replica.memory for replica in replicas),
        lanes=tuple(Lane(stage=one.stage, fraction=one.gpu, max_size=one.max_size) for one in group.lanes),
    )
