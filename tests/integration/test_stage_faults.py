"""Whatever a stage does, its caller gets one clear answer, and the next caller is served."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests


@pytest.fixture(scope="module", params=["fine", "coarse"])
def acts(request, module_serve):
    return module_serve("acts.py", "--grain", request.param)


@pytest.fixture(scope="module")
def fine(module_serve):
    return module_serve("acts.py", "--grain", "fine")


def test_a_stage_that_raises_is_named_with_its_reason(acts, problem):
    problem(acts.call(do="raise"), 500, "stage 'act' failed: ValueError: the cat sat on it", stage="act")


def test_the_log_tells_a_raise_in_full_with_its_call_id(acts):
    acts.post(b"raise", headers={"Content-Type": "text/plain", "X-Call-Id": f"raised-{acts.mark}"})

    acts.said("ValueError: the cat sat on it")
    acts.said(f"raised-{acts.mark}")


def test_a_type_that_cannot_travel_is_named_with_its_place(acts, problem):
    told = problem(acts.call(do="set"), 500, "set", stage="act")

    assert "deep" in told["detail"]


@pytest.mark.parametrize(("do", "said"), [("short", "returned 0 results for 1 inputs"), ("none", "NoneType")])
def test_a_batched_stage_that_returns_the_wrong_list_is_named(acts, problem, do, said):
    problem(acts.call(do=do), 500, said, stage="check")


@pytest.mark.parametrize("do", ["exit", "leave", "segfault"])
def test_a_replica_that_ends_costs_its_request_and_is_replaced(acts, problem, until, do):
    before = acts.replicas()
    deaths = acts.metric("regrain_replica_deaths_total")

    problem(acts.call(do=do), 502, "'act'", stage="act")

    assert acts.call(do="after").text == "after"
    until(lambda: len(acts.replicas()) == len(before), "every replica is replaced")
    assert acts.metric("regrain_replica_deaths_total") == deaths + 1


def test_an_early_answer_has_its_own_status_headers_and_type(acts):
    response = acts.call(do="answer")

    assert (response.status_code, response.headers["X-Why"]) == (418, "tea")
    assert (response.headers["Content-Type"], response.json()) == ("application/x-tea", {"early": True})


def test_a_request_error_has_its_own_status_and_headers(acts, problem):
    response = acts.call(do="refuse")

    problem(response, 429, "slow down", stage="act")
    assert (response.headers["Retry-After"], response.headers["X-Why"]) == ("7", "busy")
    assert response.headers.keys().isdisjoint({"X-Split", "X-Evil"})


def test_a_stage_sees_call_id_headers_and_that_there_is_no_deadline(acts):
    response = requests.post(
        acts.url, json={"do": "context"}, headers={"X-Call-Id": "order-7", "X-Trace": "abc"}, timeout=60
    )

    assert response.json() == {"call": "order-7", "trace": "abc", "left": None}
    assert response.headers["X-Call-Id"] == "order-7"
    acts.said("a stage was called.*order-7|order-7.*a stage was called")


def test_values_that_json_lacks_have_a_form_of_their_own(acts):
    assert acts.call(do="nan").json() == [None]
    assert acts.call(do="odd").json() == {
        "big": 1 << 80,
        "bytes": "AP8=",
        "array": [0, 1, 2],
        "tuple": [1, None],
    }


def test_a_caller_that_leaves_is_seen_by_the_stage_and_counted(acts, until, tmp_path):
    note = tmp_path / "note"
    cancelled = acts.metric("regrain_cancelled_total")
    with acts.connect() as connection:
        body = b'{"do": "cancelled", "note": "%b"}' % bytes(note)
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
        )
        until(note.exists, "the stage runs")

    until(lambda: note.read_text() == "cancelled", "the stage sees that its caller has gone")
    until(lambda: acts.metric("regrain_cancelled_total") == cancelled + 1, "it is counted")
    assert acts.call(do="after").text == "after"


def replaced(served, gone):
    """A question for the pids of the two replicas of an app, of which one that has gone is none."""

    def asked() -> list[int] | None:
        ready = served.replicas()
        return ready if len(ready) == 2 and gone not in ready else None

    return asked


def test_a_replica_killed_under_load_costs_what_it_held_and_no_more(module_serve, until):
    acts = module_serve("acts.py", replicas="2")
    victim, other = acts.replicas()

    def ask(number):
        if number == 60:
            os.kill(victim, signal.SIGKILL)
        response = acts.call(do=str(number))
        return response.status_code, response.text == str(number)

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(ask, range(240)))

    lost = [answer for answer in answers if answer[0] != 200]
    assert len(lost) <= 32
    assert {status for status, _ in lost} <= {502}
    assert all(right for status, right in answers if status == 200)
    assert other in until(replaced(acts, victim), "it is replaced")
    assert acts.metric("regrain_replica_deaths_total", group="act+check") == 1


def test_without_its_zygote_an_app_serves_on_and_replaces_replicas(fine, until):
    zygote = fine.zygote()
    os.kill(zygote, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(zygote) or psutil.Process(zygote).status() == "zombie", "it is gone")

    assert fine.call(do="still").text == "still"
    (pid,) = {fine.call(do="pid").json() for _ in range(3)}
    os.kill(pid, signal.SIGKILL)

    until(replaced(fine, pid), "the replica is replaced")
    assert fine.call(do="pid").json() in fine.replicas()
    until(another(fine, {zygote}), "another zygote")


def another(served, seen):
    """A question for the pid of a child of its front that was not seen yet."""

    def asked() -> int | None:
        living = {child.pid for child in psutil.Process(served.process.pid).children() if child.is_running()}
        return next(iter(living - seen), None)

    return asked


def test_a_zygote_that_is_killed_while_it_starts_again_is_replaced_too(fine, until):
    seen = set()
    for _ in range(3):
        zygote = until(another(fine, seen), "another zygote")
        seen.add(zygote)
        os.kill(zygote, signal.SIGKILL)
    (pid,) = {fine.call(do="pid").json() for _ in range(3)}
    os.kill(pid, signal.SIGKILL)

    until(replaced(fine, pid), "the replica is replaced")
    until(another(fine, seen), "another zygote")


def test_metrics_tell_a_status_per_request(fine):
    before = {code: fine.metric("http_requests_total", code=code) for code in ("200", "500", "400")}
    for do in ("a", "b", "raise"):
        fine.call(do=do)
    fine.call()

    after = {code: fine.metric("http_requests_total", code=code) for code in before}
    assert {code: after[code] - before[code] for code in before} == {"200": 2, "500": 1, "400": 1}


def test_server_timing_names_every_stage(fine):
    response = fine.call(do="x")

    entries = dict(
        re.fullmatch(r"([\w-]+);dur=([\d.]+)", entry).groups()
        for entry in response.headers["Server-Timing"].split(", ")
    )
    assert {"act", "check", "queue-wait", "replica-hop"} == entries.keys()
    assert sum(map(float, entries.values())) <= 1e3 * float(response.headers["X-Duration-Seconds"]) + 1
