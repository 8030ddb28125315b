"""One steady cell: every policy's plan, judged under the truth, as rows that are written once each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.granularity.cuts import frozen
from benchmarks.granularity.judge import Judge, Score
from benchmarks.granularity.policies import Made, Mind
from benchmarks.granularity.predictors import ADAPTIVE, ANALYTIC, LEARNED, SIMULATED, VERIFIED
from benchmarks.granularity.settle import Settling
from regrain.plan import Plan

Row = dict[str, object]
FULL, ORACLE = "core", "oracle-free"
"""The part of the grid in which every cut is frozen and every predictor plans; and the bound."""
LOOKED_AT = 60
"""Plans that no policy made, and that the oracle looks at, at most: the cheapest."""
ENOUGH, FAR = 0.95, 0.04
"""The protocol's attainment, and how far below it a plan may be in the first seed to be tried in the others."""


@dataclass(frozen=True, slots=True)
class Statics:
    """The plans that were optimised on the calibration day: by "coarse", "fine" and "best"."""

    plans: Mapping[str, Plan | None]


def rows(judge: Judge, statics: Statics, done: set[str]) -> Iterator[Row]:
    """Yield a row for each policy that is not done yet, and the bound's; see `lacking`."""
    settling = Settling(judge)
    mind = settling.begun()
    yield from lacking(judge, mind, policies(judge, settling, mind, statics), done)


def lacking(
    judge: Judge, mind: Mind, makers: Mapping[str, Callable[[], Made]], done: set[str]
) -> Iterator[Row]:
    """Yield a row for each of these policies that is not done yet; what plans share is said once and referred to.

    The bound is over the plans of all of them: where it lacks, those of policies that are done are made again.
    """
    told: dict[Plan, str] = {}
    seen: dict[Plan, None] = {}
    for name, make in makers.items():
        if {name, ORACLE} <= done:
            continue
        made = make()
        seen |= {one: None for one in (made.plan, *made.considered) if one is not None}
        row = _row(judge, name, made, told)
        if name not in done:
            yield row
    if ORACLE not in done:
        yield _oracle(judge, mind, list(told), list(seen))


def policies(judge: Judge, settling: Settling, mind: Mind, statics: Statics) -> dict[str, Callable[[], Made]]:
    """Return what makes the plan of each policy, by its name; each learns from the calls of its own plans."""
    load = judge.calibration
    is_full = judge.cell.part == FULL
    coarse, fine, *_ = grains = frozen(judge.world, every=is_full)
    found: dict[str, Callable[[], Made]] = {}

    def add(name: str, ask: Callable[[Mind], Made], by: str = ANALYTIC) -> None:
        found[name] = lambda: settling.settled(mind, ask, by)

    for label, plan in statics.plans.items():
        found[f"static-{label}"] = lambda plan=plan: (
            Made(plan, mind.expected(plan, load)) if plan is not None else Made(None, why="there is none")
        )
        add(f"scaled-{label}", lambda own, plan=plan: own.scaled(load, plan))
    for grain in grains:
        label = {coarse: "coarse", fine: "fine"}.get(grain, grain)
        add(f"replanned-{label}", lambda own, grain=grain: own.planned(load, grain=grain), VERIFIED)
    add("infless", lambda own: own.infless(load))
    add("esg", lambda own: own.esg(load))
    for name, (by, fluid) in ADAPTIVE.items():
        if is_full or by == VERIFIED:
            add(name, lambda own, by=by, fluid=fluid: own.planned(load, by=by, fluid=fluid), by)
    for by in (ANALYTIC, SIMULATED, LEARNED) if is_full else ():
        for label, grain in (("coarse", coarse), ("fine", fine)):
            add(
                f"replanned-{label}@{by}",
                lambda own, grain=grain, by=by: own.planned(load, grain=grain, by=by),
                by,
            )
    return found


def _row(judge: Judge, name: str, made: Made, told: dict[Plan, str]) -> Row:
    head: Row = {**judge.cell.key, "policy": name}
    if made.plan is None:
        return {**head, "infeasible": made.why}
    head |= {"expected": round(made.expected, 4), **({"note": made.why} if made.why else {})}
    if made.plan in told:
        return {**head, "as": told[made.plan]}
    told[made.plan] = name
    return {**head, "plan": brief(made.plan), **figures(judge.scores(made.plan))}


def _oracle(judge: Judge, mind: Mind, made: Sequence[Plan], seen: Sequence[Plan]) -> Row:
    """Return the cheapest plan of each seed that meets the objective in it: of those made, and those looked at.

    If none does, the best hit rate. Of the plans that were only looked at, those that fail by far in the first seed are
    left out. It is a bound from within: a plan that nobody looked at may be better still.
    """
    others = sorted((plan for plan in seen if mind.fits(plan)), key=mind.cost)[:LOOKED_AT]
    near = [plan for plan in others if judge.score(plan, judge.seeds[0]).hit_rate >= ENOUGH - FAR]
    able = sorted(dict.fromkeys([*made, *near]), key=mind.cost)
    if not able:
        return {**judge.cell.key, "policy": ORACLE, "infeasible": "no policy has a plan"}
    scores = [_best(judge, able, seed) for seed in judge.seeds]
    return {**judge.cell.key, "policy": ORACLE, "looked_at": len(others), **figures(scores)}


def _best(judge: Judge, ranked: Sequence[Plan], seed: int) -> Score:
    best = Score(-1.0, 0.0)
    for plan in ranked:
        score = judge.score(plan, seed)
        if score.hit_rate >= ENOUGH:
            return score
        best = max(best, score, key=lambda one: one.hit_rate)
    return best


def figures(scores: Sequence[Score]) -> Row:
    """Return the hit rates, and dollars for a million requests: by seed, of a trace by block with all seeds in it."""
    if scores[0].offered:
        offered, hits = (
            np.sum([getattr(one, what) for one in scores], axis=0) for what in ("offered", "hits")
        )
        cost = float(np.mean([score.cost for score in scores]))
        return {
            "hit_rate": round(float(hits.sum() / offered.sum()), 5),
            "cost": float(f"{1e6 * cost:.5g}"),
            "offered": offered.tolist(),
            "missed": (offered - hits).tolist(),
            "dollars": [float(f"{1e6 * cost * one:.5g}") for one in offered],
        }
    return {
        "hit_rate": [round(score.hit_rate, 4) for score in scores],
        "cost": [float(f"{1e6 * score.cost:.5g}") for score in scores],
    }


def brief(plan: Plan) -> list[str]:
    """Return a plan in a line for each group: stages, replicas, batch, wait in ms, share or cores."""
    found = []
    for group in plan.groups:
        level = f"{group.gpu.fraction:g} GPU" if group.gpu is not None else f"{group.cpu:g} cores"
        text = f"{group.name} x{group.replicas} b{group.max_size} w{1e3 * group.max_wait:g} {level}"
        if group.fluid is not None:
            lanes = ", ".join(
                f"{lane.stage} {lane.fraction:g} b{lane.max_size}" for lane in group.fluid.lanes
            )
            text += f" fluid {group.fluid.share:g} ({lanes})"
        found.append(text)
    return found
