import asyncio

import pytest

import regrain
from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.front.adapting.watch import Watch, shares
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.survey import Found

PAIR = """
from regrain import App

app = App("pair", sample={"text": "a"})


@app.stage()
def one(text: str) -> str:
    return text + " 1"


@app.stage()
def two(text: str) -> str:
    return text + " 2"


@app.flow
def run(text: str) -> str:
    return two(one(text))
"""

app = regrain.App("pages")


@app.stage()
def decode(body: bytes) -> bytes:
    return body


@app.stage(cpu=4)
def spread(body: bytes) -> bytes:
    return body


@app.stage(gpu=regrain.GPU(memory="1Gi"))
def detect(body: bytes) -> int:
    return len(body)


@app.flow
def read(body: bytes) -> int:
    return detect(spread(decode(body)))


def test_what_is_learned_of_a_stage_is_of_its_own_cores_in_whatever_group_it_runs():
    fused = Group(stages=("decode", "spread", "detect"), cpu=4.0, gpu=GpuShare(fraction=0.2))
    alone = Group(stages=("decode",), cpu=1.0)

    found = shares(Plan((fused, alone)), app.manifest())

    assert found == {
        (fused.name, "decode"): 1.0,
        (fused.name, "spread"): 4.0,
        (fused.name, "detect"): 0.2,
        ("decode", "decode"): 1.0,
    }


def test_what_other_pods_run_is_told_by_them():
    here = Group(stages=("decode",), cpu=1.0)
    there = Group(stages=("spread",), cpu=4.0, replicas=0)

    assert shares(Plan((here, there)), app.manifest()) == {("decode", "decode"): 1.0}


def test_each_stage_of_a_fluid_group_has_the_share_of_its_own_lane():
    lanes = (Lane(stage="decode"), Lane(stage="spread"), Lane(stage="detect", fraction=0.3))
    fluid = Group(
        stages=("decode", "spread", "detect"),
        replicas=2,
        gpu=GpuShare(fraction=1.0),
        fluid=Fluid(share=0.6, lanes=lanes),
    )

    found = shares(Plan((fluid,)), app.manifest())

    assert found == {("decode", "decode"): 1.0, ("spread", "spread"): 4.0, ("detect", "detect"): 0.3}


@pytest.mark.process
def test_what_a_fluid_group_does_reaches_whoever_decides(standing):
    asyncio.run(_report_of_a_fluid_group(standing))


async def _report_of_a_fluid_group(standing):
    async with standing(PAIR, "~one+two", "one+two=2") as stand:
        watch = Watch(stand.live, stand.measure, None)
        watch.start()
        assert await stand.ask("a") == (1, 2)

        report = watch.report()

    assert [(seen.stage, seen.share, seen.units) for seen in report.seen] == [
        ("one", 1.0, 1),
        ("two", 1.0, 1),
    ]
    assert {one.group for one in report.living} == {"~one+two"} == {report.plan.grain}


@pytest.mark.process
def test_what_stages_take_when_a_new_replica_warms_up_is_not_told(standing):
    asyncio.run(_reports_of_another_replica(standing))


async def _reports_of_another_replica(standing):
    async with standing(PAIR, "one+two", "one+two=1") as stand:
        watch = Watch(stand.live, stand.measure, None)
        watch.start()
        await stand.change("one+two", "one+two=2")
        warmed = watch.report()
        await stand.ask("a")
        asked = watch.report()

    assert [len(report.living) for report in (warmed, asked)] == [2, 2]
    assert [[seen.calls for seen in report.seen] for report in (warmed, asked)] == [[], [1, 1]]


@pytest.mark.process
@pytest.mark.parametrize(("backend", "share"), [("mps", 0.3), ("lease", None)])
def test_a_share_that_stays_until_its_replica_ends_is_told(standing, backend, share):
    asyncio.run(_report_of_shares(standing, backend, share))


async def _report_of_shares(standing, backend, share):
    card = Found(uuid="", name="h100", sms=132, memory=80 << 30)
    async with standing(PAIR, "one+two", "one+two=2") as stand:
        gpus = Gpus("pair", [card], folder="", backend=backend)
        await gpus.start()
        try:
            for replica in stand.live.current.crew.replicas:
                gpus.seat(replica.number, Group(stages=("one", "two"), gpu=GpuShare(fraction=0.3)))
            report = Watch(stand.live, stand.measure, gpus).report()
        finally:
            gpus.stop()

    assert [one.share for one in report.living] == [share, share]
