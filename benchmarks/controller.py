"""Hold the controller to its bars on the virtual clock: steps, stationary hours, loads that oscillate, and whole days.

The pipelines are the experiment's (benchmarks/granularity), on two emulated cards at 1.5 times the warm latency. The
controller gets a profile; in truth each stage is off by up to 10 %, other for each seed, and calls jitter. It begins
with the planner's plan for the load that it begins with. Nothing here is timed, so that a busy machine does no harm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.controller_bars import DAY, GLIMPSE, HOUR, judge, summary
from benchmarks.granularity import loads, protocol
from benchmarks.granularity.judge import planning
from benchmarks.granularity.pipelines import Setting, World
from benchmarks.granularity.policies import CONVERGED, Mind
from benchmarks.granularity.predictors import ANALYTIC, VERIFIED, predictor
from benchmarks.record import Record, Results, arguments, progress
from regrain.plan import Plan
from regrain_watchdog.control import closed, controller
from regrain_watchdog.control.controller import Controller
from regrain_watchdog.control.decision import Decision
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import make_model
from regrain_watchdog.policy.refine import Refined
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Problem
from regrain_watchdog.policy.switch import Reason
from regrain_watchdog.simulate.arrivals import Diurnal
from regrain_watchdog.simulate.engine import UNFINISHED

PIPELINES = ("faces", "pages", "image-classification")
PARTS = ("step", "hour", "wave", "foe", "day")
KINDS = ("poisson", "mmpp")
LOOSE = 1.5
"""The objective, in warm latencies."""
FIRST = 5000
"""The first reported seed; constants are tuned on seeds below."""
LOADS = {"light": 0.05, "normal": 0.25}
BASES, STEP = (0.02, 0.05), 10.0
"""Parts of the capacity from which a step goes up, and to which it goes down; and by how much."""
BEFORE, AFTER, SETTLED = 300.0, 120.0, 60.0
"""Seconds before and after a step, and from it until the plan is judged as the one for the new load."""
PERIODS = (20.0, 60.0, 200.0, 600.0, 1200.0)
LOW, HIGH = 0.05, 0.5
FOE, GLANCE = 1200.0, 60.0
"""Seconds of the load that turns against the controller, and by which it is looked ahead for the next change."""
SEEDS = {"step": 5, "wave": 3, "foe": 3}
"""How many at most; of hours and days as many as are asked for. What bounds switches is no matter of luck."""
SWING, NOISE = 0.8, 0.1


@dataclass(frozen=True, slots=True)
class Case:
    """A pipeline as the controller knows it, and as it is; what was planned for steady loads is remembered.

    Attributes:
        by: who predicts, for the controller and for the optimum.
    """

    world: World
    mind: Mind
    by: str
    _known: dict[tuple[str, float], tuple[Arrivals, Plan]] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: protocol.Protocol, name: str, by: str) -> Case:
        world = World(rules, name, Setting.of(rules))
        mind = Mind(world.offer(LOOSE * world.warm_latency()))
        return cls(world, mind, by)

    @property
    def problem(self) -> Problem:
        """The app as the controller knows it, with the product's own limits for planning."""
        return self.mind.problem

    def best(self, kind: str, part: float) -> tuple[Arrivals, Plan]:
        """Return a calibration draw of a load, and the planner's plan for it: the optimum by P2."""
        if (kind, part) in self._known:
            return self._known[kind, part]
        load = planning(self.world, kind, part * self.world.capacity())
        made = self.mind.planned(load, by=self.by)
        if made.plan is None:
            raise SystemExit(
                f"{self.world.pipeline.name}: there is no plan for {part:g} of the capacity: {made.why}"
            )
        return self._known.setdefault((kind, part), (load, made.plan))

    def truly_best(self, load: Arrivals, seed: int) -> tuple[Problem, Plan]:
        """Return the problem as it is in truth, and the planner's plan for the very requests: none can know both."""
        true, found = replace(self.problem, times=self.world.truth(seed)), None
        for _ in range(CONVERGED):
            found = Planner(true).plan(load, predictor(self.by), present=found).plan
        if found is None:
            raise AssertionError("the planner was not asked")
        return true, found

    def drive(self, arrivals: Arrivals, plan: Plan, seed: int, *, adapts: bool = True) -> closed.Course:
        """Let a load arrive, the controller new and ignorant of it."""
        true, app = replace(self.problem, times=self.world.truth(seed)), self.problem.app
        most = {stage.name: stage.max_size for stage in app.manifest.stages}
        refined = Refined(app.profile, most)
        mind = Controller(self.problem, predictor(self.by), refined=refined) if adapts else None
        return closed.drive(mind, closed.World(problem=true), arrivals, plan, seed=seed)

    def expected(self, plan: Plan, load: Arrivals, problem: Problem | None = None) -> float:
        """Return the hit rate that is predicted of a plan under a load, by the profile or as it is in truth."""
        model = make_model(self.problem.app, plan, (problem or self.problem).times)
        return predictor(self.by).predict(model, load).hit_rate

    def stream(self, kind: str, part: float, seconds: float, seed: int) -> Arrivals:
        """Return the requests of some seconds."""
        rate, count = part * self.world.capacity(), 200
        while True:
            found = loads.requests(
                self.world.protocol, self.world.pipeline, kind, rate, seed=seed, count=count
            )
            if found.span >= seconds:
                return found.between(0.0, seconds)
            count = max(2 * count, int(1.2 * rate * seconds))


def main() -> None:
    parser = arguments("controller", __doc__ or "", rounds=20, seconds=HOUR)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--days", type=int, default=20, help="simulated, default 20")
    parser.add_argument("--pipelines", nargs="+", choices=PIPELINES, default=PIPELINES, help="default: all")
    parser.add_argument(
        "--predictor",
        choices=(VERIFIED, ANALYTIC),
        default=VERIFIED,
        help="of the controller and the optimum",
    )
    options = parser.parse_args()
    results = Results.open("controller", options, free=("parts", "days", "pipelines"))
    seconds, options.days = (120.0, 1) if options.short else (options.seconds, options.days)
    rules = protocol.read()
    cases = {name: Case.of(rules, name, options.predictor) for name in options.pipelines}
    for part in options.parts:
        for key in _keys(part, tuple(cases), options.days if part == "day" else options.rounds):
            if results.has(**key):
                continue
            progress(" ".join(str(value) for value in key.values()))
            row = _row(cases[str(key["pipeline"])], key, seconds)
            results.add({**key, **row})
    print(summary(results))
    judge(results)


def _keys(part: str, pipelines: Sequence[str], rounds: int) -> Iterator[Record]:
    """Yield what identifies each row of a part: all cells of one seed before those of the next."""
    for number in range(min(rounds, SEEDS.get(part, rounds))):
        seed = FIRST + number
        if part == "day":
            yield {"kind": part, "pipeline": pipelines[number % len(pipelines)], "seed": seed}
            continue
        for name in pipelines:
            key: Record = {"kind": part, "pipeline": name, "seed": seed}
            if part == "step":
                for way in ("up", "down"):
                    yield from (
                        {**key, "arrivals": kind, "base": base, "way": way}
                        for kind in KINDS
                        for base in BASES
                    )
            elif part == "hour":
                yield from ({**key, "arrivals": kind, "load": load} for kind in KINDS for load in LOADS)
            elif part == "wave":
                yield from ({**key, "period": period} for period in PERIODS)
            elif part == "foe":
                yield key


def _row(case: Case, key: Record, seconds: float) -> Record:
    seed = int(str(key["seed"]))
    match key["kind"]:
        case "step":
            return _step(case, str(key["arrivals"]), float(str(key["base"])), str(key["way"]), seed)
        case "hour":
            return _hour(case, str(key["arrivals"]), LOADS[str(key["load"])], seconds, seed)
        case "wave":
            return _wave(case, float(str(key["period"])), seconds, seed)
        case "foe":
            return _foe(case, min(FOE, seconds), seed)
    return _day(case, DAY * min(1.0, seconds / HOUR), seed)


def mixed(streams: Sequence[Arrivals], spells: Sequence[tuple[float, int]], span: float) -> Arrivals:
    """Return the requests of several streams of equal time, each while its spell lasts: (begin, which) in order."""
    ends = [begin for begin, _ in spells[1:]] + [span]
    parts = [
        (begin, streams[which].between(begin, end)) for (begin, which), end in zip(spells, ends, strict=True)
    ]
    return Arrivals(
        np.concatenate([begin + one.at for begin, one in parts]),
        np.concatenate([one.size for _, one in parts]),
        np.concatenate([one.widths for _, one in parts]),
        span,
    )


def _step(case: Case, kind: str, base: float, way: str, seed: int) -> Record:
    """Step up or down; times in seconds from the step, cost against the optimum as a part, hit rate in points.

    `loads` is what the change took, `slowest` the longest that a replica which it starts loads, by the profile.

    The optimum is that of a steady load of the new rate by the profile, which is what is known before anything was
    seen; for "steady", of the same load by the true times, which is what a controller may come to know; for "true", of
    the very requests that came by the true times.
    """
    parts = (base, STEP * base) if way == "up" else (STEP * base, base)
    at = BEFORE + float(np.random.default_rng((seed, 21)).uniform())
    span = at + AFTER
    streams = [case.stream(kind, part, span, 2 * seed + place) for place, part in enumerate(parts)]
    _, before = case.best(kind, parts[0])
    load, best = case.best(kind, parts[1])
    arrivals = mixed(streams, [(0.0, 0), (at, 1)], span)
    course = case.drive(arrivals, before, seed)
    came = arrivals.between(at, span)
    true, truly = case.truly_best(came, seed)
    _, steady = case.truly_best(load, seed)
    after = [one for one in course.switches if one.decided >= at]
    plans = [before, *(one.new for one in course.switches if one.at <= at + SETTLED)]
    first = after[0] if after else None
    went = next((one for one in course.decisions if one.plan is not None and one.at >= at), None)
    return {
        "decided": round(first.decided - at, 3) if first else None,
        "shown": shown(arrivals, at),
        "in_force": round(first.at - at, 3) if first else None,
        "loads": round(first.at - first.decided, 3) if first else None,
        "slowest": round(slowest(went), 3) if went else None,
        **_off(case, load, (best, plans[-1]), "settled"),
        **_off(case, load, (steady, plans[-1]), "steady", true),
        **_off(case, came, (truly, plans[-1]), "true", true),
        **(_off(case, load, (best, first.new), "first") if first else {}),
        "before": sum(one.decided < at for one in course.switches),
        "after": len(after),
        "unanswered": int((course.outcome == UNFINISHED).sum()),
        "hit_rate": round(course.hit_rate, 4),
    }


def slowest(decision: Decision) -> float:
    """Return how many seconds that replica loads, by the profile, which loads longest of those that a plan lacks."""
    return next(told.seconds for told in decision.candidates if told.plan == decision.plan)


def shown(load: Arrivals, at: float) -> float | None:
    """Return how many seconds after a time more came in GLIMPSE seconds than in any before it; None where never."""
    inside = np.arange(1, len(load) + 1) - np.searchsorted(load.at, load.at - GLIMPSE, side="right")
    before = int(inside[load.at < at].max(initial=0))
    found = load.at[(load.at >= at) & (inside > before)]
    return round(float(found[0]) - at, 3) if len(found) else None


def _off(
    case: Case, load: Arrivals, plans: tuple[Plan, Plan], name: str, problem: Problem | None = None
) -> Record:
    """Return how far a plan is from the optimum by P2: cost as a part; hit rate, up to the objective, in points."""
    best, plan = plans
    enough = case.problem.app.slo.attainment
    hits = [min(enough, case.expected(one, load, problem)) for one in plans]
    return {
        f"{name}_cost": round(case.mind.cost(plan) / case.mind.cost(best) - 1, 4),
        f"{name}_points": round(100 * (hits[0] - hits[1]), 3),
    }


def _hour(case: Case, kind: str, part: float, seconds: float, seed: int) -> Record:
    """Leave the load as it is; beside it, what becomes of the plan that it began with."""
    arrivals = case.stream(kind, part, seconds, seed)
    _, plan = case.best(kind, part)
    return _figures(case, arrivals, plan, seed)


def _wave(case: Case, period: float, seconds: float, seed: int) -> Record:
    """Let the load be low for half a period and high for the other half, over and over."""
    streams = [
        case.stream("poisson", part, seconds, 2 * seed + place) for place, part in enumerate((LOW, HIGH))
    ]
    begins = np.arange(0.0, seconds, period / 2).tolist()
    spells = [(begin, place % 2) for place, begin in enumerate(begins)]
    _, plan = case.best("poisson", HIGH)
    return _figures(case, mixed(streams, spells, seconds), plan, seed)


def _foe(case: Case, seconds: float, seed: int) -> Record:
    """Let the load turn over whenever a new plan has come into force; it is driven anew from the begin each time.

    What was decided before a turn is the same each time, since no decision depends on what comes later.
    """
    streams = [
        case.stream("poisson", part, seconds, 2 * seed + place) for place, part in enumerate((LOW, HIGH))
    ]
    _, plan = case.best("poisson", LOW)
    spells, until = [(0.0, 1)], GLANCE
    while True:
        until = min(until, seconds)
        course = case.drive(mixed(streams, spells, until), plan, seed)
        begin, which = spells[-1]
        turn = next((one.at for one in course.switches if begin < one.at < until), None)
        if turn is not None:
            spells.append((turn + 1e-3, 1 - which))
            until = max(until, turn + GLANCE)
        elif until == seconds:
            return {"turns": len(spells) - 1, **_figures(case, mixed(streams, spells, seconds), plan, seed)}
        else:
            until *= 2


def _day(case: Case, seconds: float, seed: int) -> Record:
    """Let the load swing as that of a day does."""
    law = Diurnal(rate=LOW * case.world.capacity(), swing=SWING, noise=NOISE, day=seconds)
    at = law.times(seconds, np.random.default_rng((seed, 22))).at
    drawn = case.stream("poisson", LOW, 1.5 * seconds, seed)
    widths = drawn.widths[np.arange(len(at)) % len(drawn)]
    _, plan = case.best("poisson", LOW)
    return _figures(case, Arrivals(at, np.zeros(len(at)), widths, seconds), plan, seed)


def _figures(case: Case, arrivals: Arrivals, plan: Plan, seed: int) -> Record:
    course = case.drive(arrivals, plan, seed)
    fixed = case.drive(arrivals, plan, seed, adapts=False)
    went = [one for one in course.decisions if one.plan is not None]
    return {
        "seconds": arrivals.span,
        "requests": len(arrivals),
        "switches": len(course.switches),
        "reasons": dict(Counter(one.reason for one in went)),
        "rollbacks": sum(one.reason == Reason.ROLLBACK.name for one in went),
        "shortfalls": sum(controller.SHORTFALL in one.woken for one in course.decisions),
        "failures": max((one.failures for one in course.decisions), default=0),
        "unanswered": int((course.outcome == UNFINISHED).sum()),
        "hit_rate": round(course.hit_rate, 4),
        "fixed_hit_rate": round(fixed.hit_rate, 4),
        "cost": float(f"{1e6 * course.per_request:.4g}"),
        "fixed_cost": float(f"{1e6 * fixed.per_request:.4g}"),
    }


if __name__ == "__main__":
    main()
