"""Invocations that `regrain gateway` runs later: none that was accepted is lost, whatever is killed."""

from __future__ import annotations

import json

import requests

PATIENCE = 60.0


def later(gateway, name: str, path: str = "", **options: object) -> requests.Response:
    return requests.post(f"{gateway.url}/async-function/{name}{path}", timeout=PATIENCE, **options)


def test_a_call_is_run_later_and_its_result_called_back(gateway, until, called) -> None:
    gateway.deploy("cat", "functions/alpine", envProcess="cat")

    accepted = later(gateway, "cat", "/a?b", data=b"hi", headers={"X-Callback-Url": called.url})
    call_id = accepted.headers["X-Call-Id"]
    until(lambda: called.calls[call_id], "the result is called back", PATIENCE)

    assert (accepted.status_code, accepted.content) == (202, b"")
    assert called.body == b"hi"
    assert called.headers["x-function-status"] == "200"
    assert called.headers["x-function-name"] == "cat"
    assert float(called.headers["x-duration-seconds"]) > 0
    assert gateway.status("cat")["invocationCount"] == 1


def test_what_cannot_be_run_later_is_refused(gateway) -> None:
    gateway.deploy("cat", "functions/alpine", envProcess="cat")

    assert later(gateway, "nobody").status_code == 404
    assert later(gateway, "cat", data=b"x" * (1 << 20 | 1)).status_code == 413
    assert later(gateway, "cat", headers={"X-Callback-Url": "ftp://x"}).status_code == 400
    assert requests.delete(f"{gateway.url}/async-function/none", timeout=PATIENCE).status_code == 404


def test_a_call_is_cancelled_while_it_runs(gateway, until, called) -> None:
    gateway.deploy("slow", "functions/alpine", envProcess="sleep 60", envVars={"exec_timeout": "0"})
    headers = {"X-Callback-Url": called.url, "X-Call-Id": "mine"}
    later(gateway, "slow", headers=headers)
    until(lambda: b"Forking" in gateway.ask("GET", "/system/logs?name=slow").content, "it runs", PATIENCE)
    cancelled = requests.delete(f"{gateway.url}/async-function/mine", timeout=PATIENCE)
    front = gateway.child("plane")
    until(lambda: not front.children(), "its process has ended", PATIENCE)

    assert cancelled.status_code == 202
    assert not called.calls


def test_no_call_that_was_accepted_is_lost_with_the_front_or_the_gateway(
    start_gateway, until, called
) -> None:
    gateway = start_gateway()
    gateway.deploy("cat", "functions/alpine", envProcess="cat")
    accepted = set()

    def submit(number: int) -> None:
        headers = {"X-Callback-Url": called.url, "X-Call-Id": f"call-{number}"}
        if later(gateway, "cat", data=b"x", headers=headers).status_code == 202:
            accepted.add(f"call-{number}")

    for number in range(30):
        submit(number)
    front = gateway.child("plane")
    front.kill()
    front.wait(PATIENCE)
    for number in range(30, 60):
        submit(number)
    gateway.kill()
    start_gateway()
    until(lambda: set(called.calls) >= accepted, "all results are called back", PATIENCE)

    assert len(accepted) == 60


def test_without_a_password_callbacks_reach_functions_and_nothing_else(start_gateway, until) -> None:
    gateway = start_gateway(REGRAIN_GATEWAY_NO_AUTH="1")
    gateway.deploy("cat", "functions/alpine", envProcess="cat")
    gateway.deploy("told", "functions/alpine", envProcess="cat")
    gateway.ready("told")
    wanted = json.dumps({"service": "theirs", "image": "functions/alpine", "envProcess": "cat"})

    def ended(call_id: str) -> dict[str, object] | None:
        [record] = gateway.ask("GET", f"/system/async/{call_id}").json()
        return record if record["state"] == "done" else None

    def told(call_id: str) -> dict[str, object]:
        return until(lambda: ended(call_id), f"{call_id} is told")

    for call_id, path in (("control", "/system/functions"), ("function", "/function/told")):
        headers = {"X-Callback-Url": gateway.url + path, "X-Call-Id": call_id}
        assert later(gateway, "cat", data=wanted, headers=headers).status_code == 202
    control, function = told("control"), told("function")

    assert control["detail"] == "the callback failed: it was answered 403"
    assert "detail" not in function
    assert gateway.status("told")["invocationCount"] == 1
    assert [one["name"] for one in gateway.ask("GET", "/system/functions").json()] == ["cat", "told"]
