"""Reports in, words out: what the controller's process makes of both."""

import json
import socket
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from regrain import manifest as manifests
from regrain.manifest import SLOSpec
from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.control.log import Log
from regrain_watchdog.control.observation import living_of
from regrain_watchdog.control.process import Adviser, incoming, outgoing, serve
from regrain_watchdog.front.adapting.words import Brief, Device, Pieces, Report, Taken, decode_word, encode
from regrain_watchdog.policy import profile as profiles
from regrain_watchdog.policy.cost import GIB
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.refine import Seen
from regrain_watchdog.policy.search.planner import Planner


@pytest.fixture
def brief(problem):
    app = problem().app

    def make(**changed):
        return structs.replace(
            Brief(
                manifest=manifests.dumps(app.manifest),
                slo=app.slo,
                profile=profiles.dumps(app.profile),
                devices=(Device("v100", 80, 16 * GIB),) * 2,
                cores=32,
                memory=64 * GIB,
                predictor="analytic",
                period=15.0,
                log="",
                now=0.0,
            ),
            **changed,
        )

    return make


@pytest.fixture
def reports(arriving):
    def make(rate, plan, seconds, seen=()):
        load = arriving((rate, float(seconds)))
        for now in range(1, seconds + 1):
            first, last = np.searchsorted(load.at, (now - 1.0, float(now)))
            yield Report(
                now=float(now),
                at=load.at[first:last].tobytes(),
                size=load.size[first:last].tobytes(),
                first=int(first),
                widened=b"",
                hits=int(last - first),
                misses=0,
                plan=plan,
                living=living_of(plan),
                is_changing=False,
                is_held=False,
                seen=seen,
            )

    return make


def told(adviser, reports):
    return [word for word in map(adviser.advise, reports) if word.decision or word.warning]


def test_a_plan_that_is_too_small_is_answered_with_one_to_put_in_force_and_where_its_replicas_go(
    brief, reports, planned
):
    words = told(Adviser(brief()), reports(40.0, outgoing(planned(4.0)), 20))

    wanted = next(word for word in words if word.plan is not None)
    assert wanted.sentence == "it meets the objective and the present plan does not"
    assert wanted.predicted > 0.95
    assert {group.name for group in wanted.plan.groups} == set(wanted.placement)
    assert all(len(wanted.placement[group.name]) == group.replicas for group in wanted.plan.groups)
    assert {group.gpu.floor for group in wanted.plan.groups} == {0.0}
    assert outgoing(incoming(wanted.plan)) == wanted.plan
    explained = json.loads(wanted.decision)
    assert explained["decision"]["reason"] == "MEETS"


def test_an_objective_that_no_plan_can_meet_is_told_with_the_least_there_is(brief, reports, planned):
    adviser = Adviser(brief(slo=SLOSpec(latency=0.01, attainment=0.95)))

    words = told(adviser, reports(4.0, planned(4.0), 40))

    assert "no plan can answer within 0.01 s: the lightest request takes" in words[0].warning
    assert not [word for word in words if word.plan is not None]
    assert [word.warning for word in words[1:] if word.warning][1:] == []


def test_an_app_that_nobody_measured_is_adapted_once_something_is_known_of_every_stage(
    brief, reports, planned
):
    first = outgoing(planned(4.0))
    seen = tuple(
        Seen(stage=stage, share=first.groups[0].gpu.fraction, units=20, calls=10, seconds=0.5)
        for stage in first.groups[0].stages
    )
    adviser = Adviser(brief(profile=b""))

    assert told(adviser, reports(4.0, first, 20)) == []
    assert told(adviser, reports(4.0, first, 20, seen))


def test_one_that_starts_anew_plans_at_its_first_report_for_the_load_that_was_before(brief, reports, planned):
    plan = planned(4.0)
    *past, report = reports(40.0, plan, 60)
    forgetful = Adviser(brief())
    assert not forgetful.advise(report).decision

    word = Adviser(brief(past=tuple(past))).advise(report)

    decision = json.loads(word.decision)["decision"]
    assert decision["rate"] == pytest.approx(40.0, rel=0.2)
    assert decision["reason"] == "MEETS"
    assert word.plan is not None


def test_an_app_that_nobody_measured_is_planned_for_the_load_that_was_before_something_was_known(
    brief, reports, planned
):
    first = outgoing(planned(4.0))
    seen = tuple(
        Seen(stage=stage, share=first.groups[0].gpu.fraction, units=20, calls=10, seconds=0.5)
        for stage in first.groups[0].stages
    )
    *past, last, report = reports(4.0, first, 60)
    adviser = Adviser(brief(profile=b"", past=tuple(past)))
    assert not adviser.advise(structs.replace(last, seen=seen)).decision

    word = adviser.advise(report)

    assert json.loads(word.decision)["decision"]["rate"] == pytest.approx(4.0, rel=0.5)


def test_plans_are_left_what_other_apps_have_of_the_gpus(brief, reports, planned):
    first = outgoing(planned(4.0))

    def given(*taken):
        adviser = Adviser(brief())
        words = told(adviser, (structs.replace(one, taken=taken) for one in reports(40.0, first, 14)))
        plans = [word.plan for word in words if word.plan is not None]
        return [sum(group.replicas * group.gpu.fraction for group in plan.groups) for plan in plans]

    (alone,) = given(Taken(0.0, 0), Taken(0.0, 0))
    (beside,) = given(Taken(1.0, 8 * GIB), Taken(0.25, GIB))
    assert beside <= 0.75 < alone
    assert not given(Taken(0.0, 16 * GIB), Taken(0.0, 16 * GIB))


@pytest.mark.timeout(360)
def test_queueing_theory_decides_until_replay_is_ready_and_then_that_has_the_last_word(
    brief, reports, planned
):
    adviser = Adviser(brief(predictor="verified"))
    assert adviser._predictor.name == "analytic"

    adviser._readying._ready.result(300.0)
    words = told(adviser, reports(40.0, outgoing(planned(4.0)), 20))

    assert adviser._predictor.name == "verified"
    assert any(word.plan is not None for word in words)
    assert not any(word.warning for word in words)


@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    "lacking", [("verified", "simulate.predictor"), ("learned", "control.learned")], ids=lambda pair: pair[0]
)
def test_without_what_a_predictor_needs_queueing_theory_decides_alone_and_that_is_said_once(
    brief, reports, planned, monkeypatch, lacking
):
    predictor, needs = lacking
    monkeypatch.setitem(__import__("sys").modules, f"regrain_watchdog.{needs}", None)

    adviser = Adviser(brief(predictor=predictor))
    adviser._readying._ready.exception(300.0)

    words = told(adviser, reports(40.0, outgoing(planned(4.0)), 20))

    said = f"predictor {predictor} cannot be had, analytic stands in"
    assert sum(said in word.warning for word in words) == 1
    assert any(word.plan is not None for word in words)


def test_the_log_tells_each_decision_and_what_came_of_the_one_before_and_is_bounded(
    brief, reports, planned, tmp_path
):
    path = tmp_path / "log.jsonl"
    adviser = Adviser(brief(log=str(path)))
    told(adviser, reports(40.0, planned(42.0), 50))

    entries = [json.loads(line) for line in path.read_text().splitlines()]

    kinds = [entry["kind"] for entry in entries]
    assert kinds[:3] == ["decision", "observed", "decision"]
    assert [entry["number"] for entry in entries if entry["kind"] == "observed"] == list(
        range(1, kinds.count("observed") + 1)
    )
    assert entries[1]["hit_rate"] == 1.0

    small = Log(path, most=1)
    small._write({"kind": "decision"})
    assert path.read_text() == '{"kind":"decision"}\n'
    assert len(path.with_name("log.jsonl.1").read_text().splitlines()) == len(entries)


def test_a_log_that_cannot_be_written_is_said_once_and_decisions_are_made_all_the_same(
    brief, reports, planned, tmp_path
):
    path = tmp_path / "gone" / "log.jsonl"
    words = told(Adviser(brief(log=str(path))), reports(40.0, planned(42.0), 50))

    said = [word.warning for word in words if word.warning]
    assert said == [f"decisions are not written to {path}: No such file or directory"]
    assert len([word for word in words if word.decision]) > 2


def test_what_goes_wrong_is_the_last_word(brief):
    front, end = socket.socketpair()
    with front, end:
        front.sendall(encode(brief(profile=b"none")))
        front.shutdown(socket.SHUT_WR)

        serve(end)

        (body,) = Pieces().feed(front.recv(1 << 16))
    assert decode_word(body).end.startswith("ProfileError: this is no profile: ")


def test_plans_of_pods_tell_how_many_of_them_each_group_takes(brief, reports, planned):
    first = outgoing(planned(4.0))
    pods = {"pods": 3, "remote": 0.002, "devices": (Device("v100", 80, 16 * GIB),) * 3, "cores": 24}

    words = told(Adviser(brief(**pods)), reports(40.0, first, 20))

    wanted = next(word for word in words if word.plan is not None)
    assert {group.name for group in wanted.plan.groups} == set(wanted.pods)
    assert min(wanted.pods.values()) > 0
    assert sum(wanted.pods.values()) <= 3
    assert not any(word.pods for word in told(Adviser(brief()), reports(40.0, first, 20)))


@given(rate=st.floats(2.0, 40.0), slo=st.floats(0.2, 2.0))
@settings(max_examples=8, deadline=None)
def test_a_plan_with_a_pool_is_known_again_once_it_is_in_force(problem, arriving, rate, slo):
    asked = problem(fluid=True, sizes=(1, 4))
    asked = replace(asked, app=replace(asked.app, slo=SLOSpec(latency=slo, attainment=0.95)))

    plans = [one.plan for one in Planner(asked).plan(arriving((rate, 60.0)), Analytic()).considered]

    assert any(group.fluid is not None for plan in plans for group in plan.groups)
    assert [incoming(outgoing(plan)) for plan in plans] == plans


def test_a_pool_without_replicas_has_a_floor_too():
    lanes = (Lane(stage="read", fraction=0.5), Lane(stage="look", fraction=0.2))
    gpu = GpuShare(fraction=0.5)
    group = Group(stages=("read", "look"), replicas=0, gpu=gpu, fluid=Fluid(share=0.5, lanes=lanes))

    assert incoming(Plan((group,))).groups[0].gpu.floor == 0.5


def test_a_report_with_a_list_that_is_no_more_is_taken(brief, reports, planned):
    """An update that removed the list: requests that came before it end after it."""
    adviser = Adviser(brief())
    widened = np.array([[0, 0, 3]], np.int64).tobytes()

    for report in reports(4.0, planned(4.0), 20):
        adviser.advise(structs.replace(report, widened=widened))
