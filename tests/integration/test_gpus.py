"""Apps whose stages need a GPU, on emulated ones: what they get, what they wait for, what is refused."""

import json
import os
import signal
from pathlib import Path

import pytest
import requests

from regrain_watchdog.gpu.operate import recall

APP = """
import os

from regrain import GPU, App

app = App("cards", sample={"text": "a"})


@app.stage(gpu=GPU(memory="1Gi", share=0.5))
def one(text: str) -> str:
    return text + "1"


@app.stage()
def between(text: str) -> str:
    return text + "-"


@app.stage(gpu=GPU(memory="2Gi"))
def two(text: str) -> str:
    return text + "2"


@app.flow
def flow(text: str) -> str:
    return two(between(one(text)))
"""
SCENARIO = """
[emulated]
seed = 1
jitter = 0.0

[emulated.stages.one]
model = "resnet50"
load_time = "1ms"

[emulated.stages.two]
model = "inception_v3"
load_time = "1ms"
"""
NODE = ("--gpus", "emulated:v100", "--scenario", "scenario.toml")


@pytest.fixture
def cards(serve, tmp_path):
    def start(*flags, gpus="emulated:v100", app=APP, scenario=SCENARIO):
        (tmp_path / "app.py").write_text(app)
        (tmp_path / "scenario.toml").write_text(scenario)
        return serve(
            tmp_path / "app.py", "--gpus", gpus, "--scenario", str(tmp_path / "scenario.toml"), *flags
        )

    return start


@pytest.fixture
def refused(attempt, tmp_path):
    def start(*flags, code=2, app=APP, scenario=SCENARIO):
        (tmp_path / "app.py").write_text(app)
        (tmp_path / "scenario.toml").write_text(scenario)
        served = attempt(tmp_path / "app.py", *flags)
        assert served.ended() == code
        return served.output

    return start


def books(served, gpu=0):
    return {one["name"]: one for one in served.status()["gpus"][gpu]["usage"]}


def members(served, gpu=0):
    return {one["name"]: one for one in served.status()["gpus"][gpu]["members"]}


def test_calls_of_stages_on_a_gpu_are_held_for_their_models_time_and_booked(cards):
    served = cards("--grain", "fine")
    before = books(served)["cards/one"]

    answers = [served.call(text="a") for _ in range(5)]

    assert {answer.text for answer in answers} == {"a1-2"}
    one, two = books(served)["cards/one"], books(served)["cards/two"]
    assert one["grants"] - before["grants"] == 5
    assert (one["declared"], two["declared"]) == (1 << 30, 2 << 30)
    assert (one["sm_seconds"] - before["sm_seconds"]) / 40 >= 5 * 0.005  # half of 80 SMs
    timing = answers[0].headers["Server-Timing"]
    assert "gpu-lease;dur=" in timing
    assert served.metric("regrain_gpu_grants_total", gpu="0", function="cards/one") == one["grants"]
    assert served.metric("regrain_gpu_memory_bytes", function="cards/two", state="declared") == 2 << 30


def test_a_fused_group_needs_the_memory_of_its_stages_and_the_sms_of_the_hungriest(cards, until):
    served = cards("--grain", "fine", gpus="emulated:v100x2")

    changed = requests.post(f"{served.admin_url}/grain", json={"grain": "coarse"}, timeout=60)

    assert changed.status_code == 200, changed.text
    until(lambda: served.status()["transitions"][0]["state"] == "done", "the old plan has ended")
    found = members(served, 0) | members(served, 1)
    assert list(found) == ["cards/one+between+two"]
    assert found["cards/one+between+two"]["share"]["memory"] == 3 << 30
    assert served.call(text="a").text == "a1-2"


def test_shares_are_settings(cards):
    served = cards("--gpu-shares", "0.25", "--grain", "fine")
    before = books(served)["cards/two"]["grants"]

    assert served.call(text="a").status_code == 200

    assert books(served)["cards/two"]["grants"] - before == 1
    holds = recall(Path(served.status()["gpus"][0]["path"]))
    assert {(hold.name, hold.sms) for hold in holds} == {("cards/one", 20), ("cards/two", 20)}  # of 80 SMs


def test_what_each_replica_is_entitled_to_is_a_setting(cards):
    served = cards(
        "--gpu-shares", "one=0.25 floor=0.1 weight=3, two ceiling=0.8 priority=1", "--grain", "fine"
    )

    shares = {name: one["share"] for name, one in members(served).items()}
    assert shares == {
        "cards/one": {"weight": 3.0, "floor": 0.1, "ceiling": 1.0, "priority": 0, "memory": 1 << 30},
        "cards/two": {"weight": 1.0, "floor": 0.0, "ceiling": 0.8, "priority": 1, "memory": 2 << 30},
    }


def test_a_change_of_grain_that_no_emulated_model_was_measured_for_leaves_the_old_plan(cards):
    app = APP.replace("share=0.5", "share=0.01").replace('memory="2Gi"', 'memory="2Gi", share=0.5')
    served = cards("--grain", "coarse", app=app)  # fused with `two`, it runs on as much as that

    answer = requests.post(f"{served.admin_url}/grain", json={"grain": "fine"}, timeout=60)

    assert answer.status_code == 400, answer.text
    assert (
        "one is to run on 0.01 of a GPU, which is 0 of the 80 SMs of an emulated v100"
        in answer.json()["detail"]
    )
    assert served.call(text="a").text == "a1-2"


def test_a_model_that_needs_more_memory_than_its_stage_declares_cannot_be_loaded(refused):
    app = APP.replace('memory="2Gi"', 'memory="1000Mi"')
    scenario = SCENARIO.replace("inception_v3", "vgg19")  # 548 MiB of weights beside a context of 512

    said = refused(*NODE, "--grain", "fine", code=1, app=app, scenario=scenario)

    assert (
        "stage 'two' could not be loaded: MemoryError: out of memory on the emulated v100: stage 'two'"
        in said
    )
    assert "MiB to be loaded, and declared by GPU(memory=...) are 1000 MiB" in said


def test_a_stage_that_needs_more_memory_than_any_card_has_is_refused(refused):
    said = refused(*NODE, app=APP.replace('memory="2Gi"', 'memory="20Gi"'))

    assert "a replica of one+between+two needs 21504 MiB of a GPU" in said
    assert "which fits on none; there are left: GPU 0 (v100) 16384 MiB" in said


def test_a_batch_that_needs_more_memory_than_its_stage_declares_fails_naming_both(refused):
    app = APP.replace('memory="2Gi"', 'memory="700Mi"')

    said = refused(*NODE, "--grain", "fine", code=1, app=app, scenario=SCENARIO + 'activations = "200Mi"\n')

    assert "the app's own sample failed (500): stage 'two' failed: MemoryError: out of memory on" in said
    assert "816 MiB to run on 1 at once, and declared by GPU(memory=...) are 700 MiB" in said


def test_memory_of_a_killed_replica_is_free_for_the_next(cards, until):
    served = cards("--grain", "coarse", gpus="emulated:v100")
    (pid,) = served.replicas()

    for _ in range(6):  # six times 3 GiB would be more than the card has
        os.kill(pid, signal.SIGKILL)
        until(lambda old=pid: served.replicas() not in ([], [old]), "another replica serves")
        (pid,) = served.replicas()
        assert served.call(text="a").text == "a1-2"

    until(
        lambda: [one["pid"] for one in served.status()["gpus"][0]["members"]] == [pid], "it alone has a share"
    )
    until(lambda: served.status()["gpus"][0]["free_memory"] == (16 - 3) << 30, "the rest is free")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--gpus", "emulated:v100"), "REGRAIN_SCENARIO (--scenario) is missing"),
        (("--gpus", "emulated:b100", "--scenario", "scenario.toml"), "v100"),
        (("--gpus", "emulated:v100", "--scenario", "none.toml"), "none.toml"),
        (
            ("--gpus", "emulated:v100", "--scenario", "scenario.toml", "--replicas", "6"),
            "do not fit together: each of 6 replicas of one+between+two needs 3072 MiB of a GPU",
        ),
        (
            ("--gpus", "banana"),
            "gpus was 'banana'; allowed are emulated ones such as 'emulated:v100x2', or this machine's",
        ),
        (("--gpu-shares", "1.5"), "a fraction must be above 0 and up to 1, was '1.5'"),
        (("--gpu-shares", "three=0.5"), "there is no group 'three'"),
        (
            ("--gpu-shares", "one flor=0.1"),
            "'flor' may not follow 'one'; weight, floor, ceiling, priority may",
        ),
        (("--gpu-shares", "between=0.5"), "'between' needs no GPU, one, two does"),
        (
            ("--gpus", "emulated:a10", "--scenario", "scenario.toml", "--gpu-shares", "one=0.05"),
            "3 of the 72 SMs of an emulated a10; models were measured on 5% and more: ask for 0.056 at least",
        ),
        (
            (*NODE, "--gpu-shares", "one floor=0.6, two floor=0.6", "--grain", "fine"),
            "a replica of two needs 2048 MiB of a GPU and reserves 0.6 of the SMs",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(refused, flags, said):
    assert said in refused(*flags)


def test_a_scenario_names_its_cards_and_the_flag_goes_before_it(serve, tmp_path):
    (tmp_path / "app.py").write_text(APP)
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(SCENARIO.replace("[emulated]\n", '[emulated]\ngpus = "emulated:a10,v100"\n', 1))
    served = serve(tmp_path / "app.py", "--scenario", str(scenario))
    assert [gpu["card"] for gpu in served.status()["gpus"]] == ["a10", "v100"]
    served.stop()

    served = serve(tmp_path / "app.py", "--scenario", str(scenario), "--gpus", "emulated:v100")

    assert [gpu["card"] for gpu in served.status()["gpus"]] == ["v100"]


def test_a_replica_that_keeps_stages_on_a_gpu_has_one_before_it_serves_them(cards):
    served = cards("--grain", "one | between | two", "--resident", "all")
    assert {one["share"]["memory"] for one in members(served).values()} == {3 << 30}
    assert len(members(served)) == 3

    changed = requests.post(f"{served.admin_url}/grain", json={"grain": "coarse"}, timeout=60)
    assert changed.status_code == 200, changed.text
    assert served.call(text="a").text == "a1-2"
    grants = books(served)["cards/one+between+two"]["grants"]
    assert grants >= 2  # both of its stages took a lease, for its group


def test_an_update_books_what_the_new_code_declares_and_a_roll_back_what_the_old_did(cards, tmp_path, until):
    served = cards("--resident", "all")

    def declares(memory):
        (tmp_path / "app.py").write_text(APP.replace('GPU(memory="2Gi")', f'GPU(memory="{memory}")'))

    def ask(what, status=200):
        answer = requests.post(f"{served.admin_url}/{what}", timeout=60)
        assert answer.status_code == status, answer.text

    def has_settled():
        return all(one["state"] == "done" for one in served.status()["transitions"][:1])

    def is_booked(gibibytes):
        until(
            lambda: [one["share"]["memory"] for one in members(served).values()] == [gibibytes << 30],
            f"{gibibytes} GiB are booked",
        )
        until(has_settled, "the change has ended")

    is_booked(3)
    declares("1Gi")
    ask("update")
    is_booked(2)
    declares("20Gi")
    ask("update", 400)
    requests.post(f"{served.admin_url}/grain", json={"grain": "fine"}, timeout=60).raise_for_status()
    until(
        lambda: (
            {one["share"]["memory"] for one in members(served).values()} == {2 << 30}
            and len(members(served)) == 3
        ),
        "the version in force is what is booked",
    )
    until(has_settled, "the change has ended")
    requests.post(f"{served.admin_url}/grain", json={"grain": "coarse"}, timeout=60).raise_for_status()
    rollback = f"{served.admin_url}/rollback"
    until(lambda: requests.post(rollback, timeout=60).ok, "the change before has ended")
    is_booked(3)


def test_what_living_replicas_keep_from_now_on_is_booked_and_given_back(cards, until):
    served = cards("--grain", "fine")

    def put(stages):
        answer = requests.post(f"{served.admin_url}/resident", json={"stages": stages}, timeout=60)
        assert answer.status_code == 200, answer.text

    def booked():
        return {name: one["share"]["memory"] >> 30 for name, one in members(served).items()}

    assert booked() == {"cards/one": 1, "cards/two": 2}

    put("all")
    assert booked() == {"cards/one": 3, "cards/between": 3, "cards/two": 3}
    put("two")
    until(lambda: booked() == {"cards/one": 3, "cards/between": 2, "cards/two": 2}, "one is dropped")
    put("plan")
    until(
        lambda: booked() == {"cards/one": 1, "cards/between": 0, "cards/two": 2}, "what was more is dropped"
    )

    assert served.call(text="a").text == "a1-2"
    changed = requests.post(f"{served.admin_url}/grain", json={"grain": "coarse"}, timeout=60)
    assert changed.status_code == 200, changed.text
    assert served.call(text="a").text == "a1-2"


def test_stages_that_the_cards_have_no_room_to_keep_are_refused(cards):
    served = cards("--grain", "fine", "--replicas", "2")

    answer = requests.post(f"{served.admin_url}/resident", json={"stages": "all"}, timeout=60)

    assert answer.status_code == 409, answer.text
    assert "needs 3072 MiB of a GPU to keep these stages" in answer.json()["detail"]
    assert served.status()["resident"] == "plan"
    assert {one["share"]["memory"] >> 30 for one in members(served).values()} == {1, 2}
    assert served.call(text="a").text == "a1-2"


def test_more_replicas_than_the_cards_hold_are_refused_and_the_old_plan_stays(cards):
    served = cards("--grain", "coarse")

    answer = requests.post(f"{served.admin_url}/scale", json={"group": "one", "replicas": 6}, timeout=60)

    assert answer.status_code == 400, answer.text
    assert "each of 6 replicas of one+between+two needs 3072 MiB of a GPU" in answer.json()["detail"]
    assert "there are left: GPU 0 (v100) 16384 MiB" in answer.json()["detail"]
    assert served.call(text="a").text == "a1-2"


def test_who_held_what_when_is_drawn(cards, run_cli, tmp_path):
    served = cards("--grain", "fine")
    assert served.call(text="a").status_code == 200

    told = run_cli("gpu", "status")
    assert "cards/two" in told.stdout, told.stderr
    for name in ("held.svg", "held.png", "held.json"):
        drawn = run_cli("gpu", "timeline", "-o", str(tmp_path / name))
        assert (drawn.returncode, drawn.stderr) == (0, "")

    assert "cards/two" in (tmp_path / "held.svg").read_text()
    assert (tmp_path / "held.png").read_bytes().startswith(b"\x89PNG")
    events = json.loads((tmp_path / "held.json").read_text())["traceEvents"]
    assert {"cards/one", "cards/two"} <= {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert "none of number 7" in run_cli("gpu", "timeline", "--gpu", "7", "-o", "x.svg").stderr
    assert "was '.gif'" in run_cli("gpu", "timeline", "-o", "x.gif").stderr


def test_a_machine_without_a_gpu_says_so_where_its_own_is_wanted(refused):
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")

    assert "gpus was 'green', which does not work here: " in refused("--gpus", "green")


def test_plans_that_do_not_fit_on_a_gpu_together_change_over_smaller_ones(cards, until):
    served = cards("--grain", "fine", "--replicas", "one=2,two=4", gpus="emulated:v100")

    changed = requests.post(
        f"{served.admin_url}/grain", json={"grain": "coarse", "replicas": "4"}, timeout=60
    )

    assert changed.status_code == 200, changed.text
    until(lambda: served.status()["transitions"][0]["state"] == "done", "the old plans have ended")
    told = [(one["from"].split(" (")[0], one["to"].split(" (")[0]) for one in served.status()["transitions"]]
    assert told == [
        ("one+between+two", "one+between+two"),
        ("one | between | two", "one+between+two"),
        ("one | between | two", "one | between | two"),
    ]
    assert served.call(text="a").text == "a1-2"
