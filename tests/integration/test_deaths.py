"""What callers and operators see when requests end replicas, when replicas do not last, and when time runs out."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

MORTAL = Path(__file__).parents[1] / "apps" / "mortal.py"


@pytest.fixture(scope="module")
def mortal(module_serve):
    return module_serve(f"{MORTAL}:app")


def test_a_poisoned_request_is_502_and_counted_and_those_beside_it_are_answered(mortal, problem):
    with ThreadPoolExecutor(9) as pool:
        good = [pool.submit(mortal.call, what=f"good {number}") for number in range(16)]
        poisoned = pool.submit(mortal.call, what="die")

        assert [answer.result().status_code for answer in good] == [200] * 16
        problem(poisoned.result(), 502, "poison", stage="risky")

    assert mortal.metric("regrain_poison_total", group="risky") == 1
    assert mortal.metric("regrain_crash_loop", group="risky") == 0


def test_a_deadline_that_passes_is_504_naming_the_stage(mortal, problem):
    answer = mortal.post(
        b'{"what": "sleep 1"}', headers={"Content-Type": "application/json", "X-Timeout": "100ms"}
    )

    problem(answer, 504, "late", stage="risky")


def test_a_stopped_replica_is_replaced_and_its_request_is_504(serve, problem, with_time):
    def replaced(seconds):
        mortal = serve(f"{MORTAL}:app", "--hang-timeout", f"{seconds:g}s")

        said = f"stage 'risky' has not moved for {seconds:g} s"
        problem(mortal.call(what="stop"), 504, said, stage="risky")
        [miss] = requests.get(f"{mortal.admin_url}/slow", timeout=60).json()
        longest = max(miss["spans"], key=lambda span: span["seconds"])
        assert (longest["stage"], longest["kind"]) == ("risky", "service")
        assert longest["seconds"] > 0.85 * seconds

        assert mortal.call(what="fine").text == "fine"

    with_time(replaced, 2.0)


def test_a_crash_loop_shows_in_readiness_status_and_metrics_and_ends(
    serve, until, problem, tmp_path, monkeypatch
):
    gate = tmp_path / "gate"
    monkeypatch.setenv("MORTAL_GATE", str(gate))
    served = serve(f"{MORTAL}:frail")
    gate.touch()

    os.kill(served.replicas()[0], signal.SIGKILL)

    until(lambda: served.status()["state"] == "crash-loop", "a crash loop")
    ready = served.get("/_/ready")
    assert (ready.status_code, ready.text) == (503, "crash-loop: replicas of model end as soon as they start")
    assert served.metric("regrain_crash_loop", group="model") == 1
    refused = served.call(what="fine")
    problem(refused, 503, "crash-loop")
    assert int(refused.headers["Retry-After"]) >= 1

    gate.unlink()
    until(lambda: served.call(what="fine").status_code == 200, "an answer")
    assert served.get("/_/ready").status_code == 200
