"""The process that times an app's stages: what it answers, and what it refuses."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regrain.app import App
from regrain.wire import measuring
from regrain.wire.codec import pack_inline
from regrain_runtime.measure import LEAST, SCHEDSTAT, Bench, Laps, OwnTime


class Clock:
    """Time that stands still but for what stages take."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def make_app(clock):
    app = App("measured", sample={"text": "abc"})

    @app.stage()
    def split(text: str) -> list[str]:
        clock.now += 0.002
        return list(text)

    @app.batched(max_size=4)
    def shout(text: list[str]) -> list[str]:
        clock.now += 0.01 + 0.001 * len(text)
        if "!" in text:
            raise ValueError("not so loud")
        return [one.upper() * 100 for one in text]

    @app.flow
    def flow(text: str) -> list[str]:
        return shout.map(split(text))

    return app


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bench(clock):
    before = os.sched_getaffinity(0)
    yield Bench(make_app(clock), clock=clock)
    os.sched_setaffinity(0, before)


def request(text):
    return measuring.Request({"text": pack_inline(text)})


@pytest.fixture
def walked(bench):
    for stage in ("split", "shout"):
        bench.do(measuring.Load(stage, 1.0))
    return bench.do(measuring.Walk((request("abc"), request("abcdefgh"))))


def test_a_walk_tells_how_many_units_each_request_has_for_each_stage(walked):
    assert walked.units == {"split": (1, 1), "shout": (3, 8)}
    assert 100 <= walked.out_bytes["shout"] < 120
    assert set(walked.grown) == {"split", "shout"}


@pytest.mark.parametrize(
    ("stage", "batch", "seconds"), [("split", 1, 0.002), ("shout", 1, 0.011), ("shout", 4, 0.014)]
)
def test_calls_are_timed_by_units_whatever_a_request_brings(bench, walked, stage, batch, seconds):
    timed = bench.do(measuring.Time(stage, 0, batch, 10.0, 0.01))

    assert timed.seconds == pytest.approx(seconds)
    assert (timed.cv, timed.count) == (pytest.approx(0.0, abs=1e-9), LEAST)


def test_units_that_differ_take_their_turns(clock):
    app = App("uneven")

    @app.stage()
    def split(text: str) -> list[str]:
        return list(text)

    @app.stage()
    def weigh(letter: str) -> int:
        clock.now += int(letter)
        return int(letter)

    @app.flow
    def flow(text: str) -> list[int]:
        return weigh.map(split(text))

    bench = Bench(app, clock=clock)
    for stage in ("split", "weigh"):
        bench.do(measuring.Load(stage, 64.0))
    bench.do(measuring.Walk((request("123"),)))

    timed = bench.do(measuring.Time("weigh", 0, 1, 1e6, 0.02))

    assert timed.seconds == pytest.approx(2.0, rel=0.05)
    assert timed.cv == pytest.approx(0.41, abs=0.05)


def test_the_whole_flow_is_timed_in_one_go(bench, walked):
    assert bench.do(measuring.Chain(1, 10.0, 0.01)).seconds == pytest.approx(0.002 + 2 * 0.014)


def test_no_further_call_begins_once_the_limit_has_passed(bench, walked):
    assert bench.do(measuring.Time("shout", 0, 1, 0.0, 0.01)).count == 1


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        pytest.param(
            measuring.Load("sing", 1.0), "no stage is called 'sing'; there are split, shout", id="stage"
        ),
        pytest.param(measuring.Time("shout", 0, 5, 1.0, 0.1), "takes 1 to 4, was 5", id="batch"),
        pytest.param(
            measuring.Time("shout", 7, 1, 1.0, 0.1), "was given nothing by that request", id="request"
        ),
        pytest.param(measuring.Chain(7, 1.0, 0.1), "has not walked", id="chain"),
        pytest.param(measuring.Walk((request("a!"),)), "request 1 fails: stage 'shout' failed", id="failing"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(bench, walked, ask, why):
    refused = bench.do(ask)

    assert isinstance(refused, measuring.Refused)
    assert why in refused.detail
    assert bench.do(measuring.Time("shout", 0, 1, 1.0, 0.1)).count == LEAST


def test_a_batch_that_only_passes_one_by_one_is_refused(clock):
    app = App("narrow")

    @app.batched(max_size=4)
    def one(text: list[str]) -> list[str]:
        if len(text) > 1:
            raise MemoryError("no room")
        return text

    @app.flow
    def flow(text: str) -> str:
        return one(text)

    bench = Bench(app, clock=clock)
    bench.do(measuring.Load("one", 64.0))
    bench.do(measuring.Walk((request("a"),)))

    refused = bench.do(measuring.Time("one", 0, 4, 1.0, 0.1))

    assert refused == measuring.Refused("stage 'one' fails on 4 at once: each alone they pass")


def test_a_stage_runs_on_the_cores_that_it_is_loaded_with(bench):
    here = len(os.sched_getaffinity(0))

    bench.do(measuring.Load("split", 1.0))
    one = len(os.sched_getaffinity(0))
    bench.do(measuring.Load("split", 64.0))

    assert (one, len(os.sched_getaffinity(0))) == (1, here)


def test_a_mean_is_sure_only_after_as_many_calls_as_its_spread_asks_for():
    laps = Laps()
    counted = 0
    for counted in itertools.count(1):
        laps.add(1.0 if counted % 2 else 1.2, 0.1)
        if laps.are_enough(0.02):
            break

    assert 20 <= counted <= 32
    assert laps.timed().seconds == pytest.approx(1.1 + 0.1, rel=0.01)


def test_a_wait_for_a_lease_that_nobody_wants_counts_by_its_median():
    laps = Laps()
    for waited in (0.1, 0.1, 5.0):
        laps.add(1.0, waited)

    assert laps.timed() == measuring.Timed(pytest.approx(1.1), 0.0, 3, 0.1)


def ran(processes):
    """Seconds that processes of one thread have had a core."""
    return sum(int(Path(f"/proc/{one.pid}/schedstat").read_text().split()[0]) for one in processes) * 1e-9


@pytest.mark.skipif(not Path(SCHEDSTAT).exists(), reason="this kernel keeps no accounts of its scheduler")
def test_the_clock_stands_still_while_another_process_has_the_core():
    core = {min(os.sched_getaffinity(0))}
    before = os.sched_getaffinity(0)
    script = "print(flush=True)\nwhile True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for process in busy:
            process.stdout.readline()
            os.sched_setaffinity(process.pid, core)
        os.sched_setaffinity(0, core)
        clock = OwnTime()
        began, others, own, used = time.monotonic(), ran(busy), clock(), time.thread_time()
        while time.monotonic() - began < 0.5:
            pass
        used, own = time.thread_time() - used, clock() - own
        others = ran(busy) - others
        wall = time.monotonic() - began
    finally:
        os.sched_setaffinity(0, before)
        for process in busy:
            process.kill()
            process.communicate()

    assert others > 0.0
    assert used - 0.01 <= own <= wall - 0.9 * others  # what the whole machine stood still counts, too


PRINTING = """
from regrain import App

app = App("printing")


@app.stage()
def say(text: str) -> str:
    print("saying", text)
    return text


@app.flow
def flow(text: str) -> str:
    return say(text)
"""


@pytest.mark.process
def test_what_a_stage_prints_is_no_answer(tmp_path):
    (tmp_path / "printing.py").write_text(PRINTING)
    asks = (
        measuring.Load("say", 1.0),
        measuring.Walk((request("hello"),)),
        measuring.Time("say", 0, 1, 0.1, 0.5),
    )

    ran = subprocess.run(
        [sys.executable, "-m", "regrain_runtime", "measure", str(tmp_path / "printing.py")],
        input=b"".join(map(measuring.encode, asks)),
        env=os.environ
        | {"OPENBLAS_NUM_THREADS": "1"},  # as the watchdog starts it: its threads would not survive a fork
        capture_output=True,
        check=True,
        timeout=60,
    )

    answers = [measuring.answer(line) for line in ran.stdout.splitlines()]
    doing = measuring.Doing("say")
    assert [answer for answer in answers if isinstance(answer, measuring.Doing)] == [doing] * 3
    assert [type(answer) for answer in answers] == [
        measuring.Ready,
        measuring.Doing,
        measuring.Loaded,
        measuring.Doing,
        measuring.Walked,
        measuring.Doing,
        measuring.Timed,
    ]
    assert b"saying hello" in ran.stderr
    assert answers[0].seconds > 0
    assert answers[2].memory >= answers[0].memory


@pytest.mark.process
def test_a_module_that_is_no_app_ends_it_with_one_line(tmp_path):
    (tmp_path / "wrong.py").write_text("1 / 0\n")

    ran = subprocess.run(
        [sys.executable, "-m", "regrain_runtime", "measure", str(tmp_path / "wrong.py")],
        input=b"",
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.decode() == f"regrain: {tmp_path / 'wrong.py'}:1: ZeroDivisionError: division by zero\n"
