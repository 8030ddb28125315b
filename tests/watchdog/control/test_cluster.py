"""The plan of all pods together: what is read of it, and when it is given up."""

import asyncio
from array import array
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from regrain import App
from regrain.errors import SpecError
from regrain.manifest import SLOSpec
from regrain.plan import Group, Plan
from regrain_watchdog.control import cluster as clusters
from regrain_watchdog.control.cluster import ENOUGH, Cluster, Decided, Switches, in_force
from regrain_watchdog.control.process import Adviser, outgoing
from regrain_watchdog.front.adapting.mind import Mind
from regrain_watchdog.front.adapting.words import Device, Report, Watched, Word
from regrain_watchdog.policy import profile as profiles
from regrain_watchdog.policy.assignment import Assignment, Standing
from regrain_watchdog.policy.cost import GIB

app = App("chain")


@app.stage()
def read(x: int) -> int:
    return x


@app.stage()
def look(x: int) -> int:
    return x


@app.flow
def chain(x: int) -> int:
    return look(read(x))


MANIFEST = app.manifest()
SWITCHES = Switches(predictor="analytic", period=15.0)


def given(homes, replicas=None, groups=(), epoch=1):
    return Assignment(
        epoch=epoch,
        version="v",
        grain=" | ".join(homes),
        homes=homes,
        replicas=replicas or dict.fromkeys(homes, 1),
        groups=groups,
    )


def standing(decision):
    return Standing(
        version="v", epoch=1, oldest=1, grain="", ready=True, draining=False, ending=0, decision=decision
    )


def test_an_assignment_of_a_grain_is_a_plan_with_the_replicas_of_all_pods():
    plan = in_force(MANIFEST, given({"read": ("1",), "look": ("2", "3")}, {"read": 1, "look": 2}))

    assert [(group.name, group.replicas) for group in plan.groups] == [("read", 1), ("look", 4)]


def test_an_assignment_of_a_plan_is_that_plan():
    groups = (Group(stages=("read", "look"), replicas=3, max_size=4),)

    assert in_force(MANIFEST, given({"read+look": ("1", "2")}, {"read+look": 2}, groups)).groups == groups


@pytest.mark.parametrize("text", [None, "{}", "nonsense"])
def test_a_profile_that_is_none_is_refused(tmp_path, text):
    file = tmp_path / "profile.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SpecError, match=r"profile\.json"):
        Switches(profile=str(file), predictor="analytic", period=15.0).read()


def test_what_does_not_come_into_force_is_given_up_for_what_was():
    async def decide():
        cluster = Cluster(MANIFEST, SWITCHES)
        before = given({"read+look": ("1", "2")})
        cluster.stand(["1", "2"], before, is_changing=False, is_held=False)
        cluster.give_up()
        assert cluster.decided is None

        wanted = cluster.decided = Decided(
            (Group(stages=("read",)), Group(stages=("look",))), {"read": 1, "look": 1}
        )
        after = given({"read": ("1",), "look": ("2",)}, groups=wanted.groups, epoch=2)
        cluster.stand(["1", "2"], after, is_changing=True, is_held=False)
        assert cluster.decided == wanted
        cluster.give_up()
        assert cluster.decided == Decided.of(MANIFEST, before)

        cluster.decided = wanted
        cluster.stand(["1", "2"], after, is_changing=False, is_held=False)
        cluster.give_up()
        assert cluster.decided == wanted

    asyncio.run(decide())


def test_what_was_decided_and_assigned_to_no_pod_is_dropped_once_none_is_counted_on():
    async def decide():
        cluster = Cluster(MANIFEST, SWITCHES)
        split = Word(plan=Plan((Group(stages=("read",)), Group(stages=("look",)))))
        cluster.stand(["1", "2"], given({"read+look": ("1", "2")}), is_changing=False, is_held=False)
        cluster._hear(split)
        assert cluster.decided is not None
        cluster.rest()
        assert cluster.decided is None

        cluster._hear(split)
        decided = cluster.decided
        assigned = given({"read": ("1",), "look": ("2",)}, groups=decided.groups, epoch=2)
        cluster.assign(decided)
        cluster.stand(["1", "2"], assigned, is_changing=True, is_held=False)
        cluster.rest()
        assert cluster.decided == decided

    asyncio.run(decide())


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    shown = SimpleNamespace(monotonic=lambda: clock.now, time=lambda: clock.now)
    monkeypatch.setattr(clusters, "time", shown)
    monkeypatch.setattr(Mind, "start", lambda _: None)
    return clock


@pytest.fixture
def telling(arriving):
    """What a pod says at each second at which it is asked, to which so many requests a second come."""

    def make(rate, seconds, seed):
        load, asked = arriving((rate, float(seconds)), seed=seed), [0.0]

        def say(now, plan, slo):
            first, last = np.searchsorted(load.at, (asked[-1], now))
            asked.append(now)
            report = Report(
                now=now,
                at=load.at[first:last].tobytes(),
                size=load.size[first:last].tobytes(),
                first=int(first),
                widened=b"",
                hits=int(last - first),
                misses=0,
                plan=plan,
                living=(),
                is_changing=False,
                is_held=False,
            )
            return Watched(
                report=report, slo=slo, devices=(Device("v100", 80, 16 * GIB),), cores=8.0, memory=32 * GIB
            )

        return say

    return make


def test_silence_of_all_pods_is_not_taken_for_the_end_of_the_load(problem, planned, telling, clock, tmp_path):
    app, file = problem().app, tmp_path / "profile.json"
    file.write_bytes(profiles.dumps(app.profile))
    plan, pods = outgoing(planned(40.0)), {"1": telling(20.0, 400, 1), "2": telling(20.0, 400, 2)}
    homes = {group.name: ("1", "2") for group in plan.groups}

    async def decide():
        cluster = Cluster(app.manifest, Switches(profile=str(file), predictor="analytic", period=15.0))
        mind, decided = None, []
        for second in range(1, 351):
            clock.now = float(second)
            if not 200 < second <= 290:
                cluster.stand(list(pods), given(homes, groups=plan.groups), is_changing=False, is_held=False)
                for pod, say in pods.items():
                    cluster.take(pod, say(clock.now, plan, app.slo), clock.now, 0.001)
            if second > ENOUGH + 1:
                mind = mind or Adviser(cluster._brief())
                decided.append(mind.advise(cluster._report()))
        return decided

    words = asyncio.run(decide())
    assert any(word.decision for word in words)
    assert [word.sentence for word in words if word.plan is not None] == []


def test_pods_that_know_of_another_decision_are_told_of_the_last_one():
    async def decide():
        cluster = Cluster(MANIFEST, SWITCHES)
        present = {"plan": in_force(MANIFEST, given({"read+look": ("1", "2")}))}
        explained = msgspec.json.encode({"decision": {"number": 3, "present": present}, "needs": []})
        cluster._hear(Word(decision=explained))
        assert cluster.explained == explained
        cluster.informed("1", explained)
        assert cluster.uninformed({"1": standing(3), "2": standing(2), "3": standing(0)}) == ["2", "3"]

    asyncio.run(decide())


def test_pods_are_told_of_a_decision_of_the_same_number_by_another_process():
    """One begins anew, and counts from 1, whenever pods come or go."""

    async def decide():
        cluster = Cluster(MANIFEST, SWITCHES)
        present = {"plan": in_force(MANIFEST, given({"read+look": ("1", "2")}))}
        for need in ("one", "another"):
            explained = msgspec.json.encode({"decision": {"number": 1, "present": present}, "needs": [need]})
            cluster._hear(Word(decision=explained))
            assert cluster.uninformed({"1": standing(1)}) == ["1"]
            cluster.informed("1", explained)
            assert cluster.uninformed({"1": standing(1)}) == []

    asyncio.run(decide())


def test_reports_are_not_gathered_where_nobody_decides_for_want_of_an_objective():
    async def decide():
        cluster = Cluster(MANIFEST, SWITCHES)
        cluster.stand(["1"], given({"read+look": ("1",)}), is_changing=False, is_held=False)
        for slo, now in ((None, 1.0), (None, 2.0), (SLOSpec(latency=0.1, attainment=0.9), 3.0)):
            cluster.take("1", watched(now, slo), now, 0.001)
        assert cluster._report().hits == 1

    asyncio.run(decide())


def test_a_process_that_is_started_again_while_all_pods_are_new_is_told_what_was_known_last(monkeypatch):
    """The one before may end at any moment."""
    monkeypatch.setattr(Mind, "start", lambda _: None)

    async def decide():
        cluster, slo = Cluster(MANIFEST, SWITCHES), SLOSpec(latency=0.1, attainment=0.9)
        for now in range(ENOUGH):
            cluster.take("1", watched(float(now), slo), float(now), 0.001)
        for pod in ("1", "2"):
            cluster.stand([pod], given({"read+look": (pod,)}), is_changing=False, is_held=False)
        assert (cluster._brief().slo, cluster._brief().pods) == (slo, 1)

    asyncio.run(decide())


def watched(now, slo):
    report = Report(
        now=now,
        at=array("d", [now]).tobytes(),
        size=array("d", [1.0]).tobytes(),
        first=int(now),
        widened=b"",
        hits=1,
        misses=0,
        plan=in_force(MANIFEST, given({"read+look": ("1",)})),
        living=(),
        is_changing=False,
        is_held=False,
    )
    return Watched(report=report, slo=slo, devices=(), cores=1.0, memory=1 << 30)


def test_what_an_operator_holds_is_not_given_up(caplog):
    async def decide():
        cluster = Cluster(MANIFEST, SWITCHES)
        before = given({"read+look": ("1", "2")})
        cluster.stand(["1", "2"], before, is_changing=False, is_held=False)
        held = given({"read": ("1",), "look": ("2",)}, epoch=2)
        for _ in range(2):
            cluster.stand(["1", "2"], held, is_changing=True, is_held=True)
            cluster.give_up()
        assert cluster.decided == Decided.of(MANIFEST, held)
        assert not caplog.messages

    asyncio.run(decide())


def test_what_an_operator_holds_is_what_goes_on_afterwards():
    async def decide():
        cluster = Cluster(MANIFEST, SWITCHES)
        held = given({"read": ("1",), "look": ("2",)})
        cluster.stand(["1", "2"], held, is_changing=True, is_held=True)
        assert cluster.decided == Decided.of(MANIFEST, held)

    asyncio.run(decide())
