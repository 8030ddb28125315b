import regrain
from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.front.adapting.watch import shares

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
