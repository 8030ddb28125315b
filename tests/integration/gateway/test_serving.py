"""`regrain gateway` as a whole: functions are served, updated, scaled and woken, while its processes die."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

PATIENCE = 60.0
SITE_TEMPLATE = "language: flask\nfprocess: wsgi:main:app\n"


def greeted(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_function_is_built_deployed_invoked_and_removed(gateway, until, greeting) -> None:
    gateway.build(app=greeting("Hello") + 'print("imported Hello", flush=True)\n')
    gateway.deploy()

    first = gateway.invoke("hello", json={"name": "you"}, headers={"X-Call-Id": "mine"})
    named = gateway.invoke("hello.openfaas-fn", json={"name": "me"})
    below = gateway.invoke("hello", "/_/ready", method="GET")
    gateway.ready()
    logs = gateway.ask("GET", "/system/logs?name=hello&follow=false").text
    removed = gateway.ask("DELETE", "/system/functions", json={"functionName": "hello"})
    until(lambda: gateway.invoke("hello", json={}).status_code == 404, "the function has gone")

    assert (greeted(first), greeted(named)) == ("Hello you", "Hello me")
    assert first.headers["X-Call-Id"] == "mine"
    assert len(named.headers["X-Call-Id"]) == 36
    assert int(named.headers["X-Start-Time"]) > 0
    assert float(named.headers["X-Duration-Seconds"]) > 0
    assert below.status_code == 200
    assert "imported Hello" in logs
    assert removed.status_code == 202


def test_commands_and_redirects_take_any_verb_and_hand_on_path_query_and_body(gateway, until) -> None:
    gateway.ask("POST", "/system/secrets", json={"name": "key", "value": "sesame"})
    gateway.deploy("env", "functions/alpine:latest", envProcess="env", envVars={"A": "b"})
    gateway.deploy("cat", "functions/alpine", envProcess="cat")
    gateway.deploy("wc", "functions/alpine", envProcess="wc -c", envVars={"REGRAIN_MAX_BODY": "100"})
    gateway.deploy("secret", "functions/alpine", envProcess="cat /var/openfaas/secrets/key", secrets=["key"])
    gateway.deploy("false", "functions/alpine", envProcess="false")
    gateway.deploy("slow", "functions/alpine", envProcess="sleep 60", envVars={"exec_timeout": "100ms"})
    gateway.deploy("red", "theaxer/redirector", envVars={"destination": "http://example.org/x"})
    for name in ("env", "cat", "wc", "secret", "false", "slow", "red"):
        gateway.ready(name)

    told = dict(
        line.split("=", 1)
        for line in gateway.invoke("env", "/a/b?c=d", method="GET", headers={"X-My": "1"}).text.splitlines()
    )
    chunks = gateway.invoke("cat", data=iter([b"one ", b"two"]))
    redirected = gateway.invoke("red", method="GET", allow_redirects=False)
    verbs = [
        gateway.invoke("env", method=verb).status_code
        for verb in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
    ]
    logs = gateway.ask("GET", "/system/logs?name=cat&follow=false").text

    assert told.items() >= {
        ("A", "b"),
        ("Http_Method", "GET"),
        ("Http_Path", "/a/b"),
        ("Http_Query", "c=d"),
        ("Http_X_My", "1"),
    }
    assert chunks.text == "one two"
    assert (redirected.status_code, redirected.headers["Location"]) == (302, "http://example.org/x")
    assert verbs == [200] * 7
    assert gateway.invoke("secret").text == "sesame"
    assert gateway.invoke("wc", data=b"x" * 101).status_code == 413
    assert gateway.invoke("false").status_code == 500
    assert gateway.invoke("slow").status_code == 504
    assert "Forking fprocess" in logs
    assert "Wrote 7 Bytes" in logs


SITE = """
import os, sys

def app(environ, start_response):
    length = environ.get("CONTENT_LENGTH") or (None if "gunicorn.socket" in environ else 0)
    sent = environ["wsgi.input"].read(*[int(length)] if length is not None else [])
    print("asked for", environ["PATH_INFO"], flush=True)
    start_response("201 Created", [("Content-Type", "text/plain"), ("X-Own", os.environ.get("A", ""))])
    return [" ".join([environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], ""]).encode() + sent]

if __name__ == "__main__":
    from wsgiref.simple_server import make_server
    make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""


def test_requests_of_a_server_are_traced_where_the_gateways_variables_ask_for_it(
    collector, start_gateway, until, tarred: Callable[..., bytes]
) -> None:
    gateway = start_gateway()
    site = SITE.replace('os.environ.get("A", "")', 'environ["HTTP_TRACEPARENT"]')
    files = {"context/template.yml": SITE_TEMPLATE, "context/function/main.py": site}
    gateway.send(tarred({**files, "com.openfaas.docker.config": json.dumps({"image": "site"})}))
    gateway.deploy("site", "site", envProcess="wsgi:main:app")
    gateway.ready("site")
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

    answer = gateway.invoke("site", "/a", method="GET", headers={"traceparent": f"00-{trace}-{caller}-01"})

    [span] = until(lambda: collector.of(trace), "its span has come")
    assert (span.name, span.parent, span.named) == ("GET", caller, answer.headers["X-Own"])
    assert span.attributes["http.response.status_code"] == 201
    assert span.attributes["regrain.call_id"] == answer.headers["X-Call-Id"]
    assert (span.attributes["url.path"], span.resource["service.name"]) == ("/a", "site")


@pytest.mark.parametrize("kind", ["wsgi", "http"])
def test_a_server_is_a_function_too(
    gateway, until, tarred: Callable[..., bytes], kind: str, free_ports: list[int]
) -> None:
    files = {"context/template.yml": SITE_TEMPLATE, "context/function/main.py": SITE}
    built = gateway.send(tarred({**files, "com.openfaas.docker.config": json.dumps({"image": "site"})}))
    assert '"success"' in built.text
    variables = (
        {"A": "b", "upstream_url": f"http://127.0.0.1:{free_ports[0]}/under"}
        if kind == "http"
        else {"A": "b"}
    )
    command = f"{sys.executable} main.py {free_ports[0]}" if kind == "http" else "wsgi:main:app"
    prefix = "/under" if kind == "http" else ""
    gateway.deploy("site", "site", envProcess=command, envVars=variables)
    gateway.ready("site")

    whole = gateway.invoke("site", "/a%20b?c=d", method="PUT", data=b"x" * 100_000)
    chunks = gateway.invoke("site", data=iter([b"one ", b"two"])) if kind == "wsgi" else None
    head = gateway.invoke("site", method="HEAD")
    logs = gateway.ask("GET", "/system/logs?name=site&follow=false").text
    server = gateway.living()
    gateway.ask("POST", "/system/scale-function/site", json={"serviceName": "site", "replicas": 0})
    _, left = psutil.wait_procs(server, PATIENCE)
    woken = gateway.invoke("site", method="GET")

    gateway.deploy("site", "site", envProcess=command, envVars={**variables, "A": "c"})
    until(lambda: gateway.invoke("site").headers.get("X-Own") == "c", "the next version answers")

    assert (whole.status_code, whole.headers["X-Own"]) == (201, "b")
    assert whole.text == f"PUT {prefix}/a b c=d " + "x" * 100_000
    assert chunks is None or chunks.text == "POST /  one two"  # wsgiref reads no chunks
    assert (head.status_code, head.text) == (201, "")
    assert f"asked for {prefix}/a b" in logs
    assert server
    assert not left
    assert woken.status_code == 201


def test_a_server_is_back_at_its_port_at_once(
    gateway, until, tarred: Callable[..., bytes], free_ports: list[int]
) -> None:
    files = {"context/template.yml": SITE_TEMPLATE, "context/function/main.py": SITE}
    gateway.send(tarred({**files, "com.openfaas.docker.config": json.dumps({"image": "site"})}))
    command = f"{sys.executable} main.py {free_ports[0]}"
    variables = {"A": "b", "upstream_url": f"http://127.0.0.1:{free_ports[0]}"}
    gateway.deploy("site", "site", envProcess=command, envVars=variables)
    gateway.ready("site")

    gateway.ask("POST", "/system/scale-function/site", json={"serviceName": "site", "replicas": 0})
    until(lambda: not gateway.status("site").get("replicas"), "it is at zero")
    woken = gateway.invoke("site")
    gateway.ask("DELETE", "/system/functions", json={"functionName": "site"})
    until(lambda: gateway.invoke("site").status_code == 404, "it is removed")
    gateway.deploy("site", "site", envProcess=command, envVars=variables)
    until(lambda: gateway.invoke("site").status_code != 404, "it is there again")
    anew = gateway.invoke("site")

    assert (woken.status_code, anew.status_code) == (201, 201), (woken.text, anew.text)


def test_an_update_under_load_fails_no_request_and_one_that_does_not_start_changes_nothing(
    gateway, until, load
) -> None:
    gateway.build("Old")
    gateway.deploy()
    asking = load(gateway)
    until(asking.has("Old x"), "the first version answers")
    gateway.build("New")
    gateway.deploy()
    until(asking.has("New x"), "the second version answers")
    gateway.deploy(envVars={"REGRAIN_GRAIN": "no such stage"})
    until(lambda: gateway.status()["state"] == "failed", "the third version has failed")
    asking.end()

    assert {status for status, _ in asking.answers} == {200}
    assert {text for _, text in asking.answers} == {"Old x", "New x"}
    status = gateway.status()
    assert "no such stage" in str(status["detail"])
    assert (status["state"], status["availableReplicas"]) == ("failed", 1)
    logs = gateway.ask("GET", "/system/logs?name=hello&follow=false").text
    assert "did not start" in logs


def test_a_function_at_zero_has_no_process_and_is_started_by_a_request(gateway, until) -> None:
    gateway.build("Hello")
    gateway.deploy()
    gateway.ready()
    front = gateway.child("plane")
    until(lambda: len(gateway.living()) == 2, "there are a zygote and a replica")
    gateway.ask("POST", "/system/scale-function/hello", json={"serviceName": "hello", "replicas": 0})
    until(lambda: not front.children(), "no process is left")
    asleep = gateway.status()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.invoke("hello", json={"name": "you"}), range(8)))

    assert (asleep["state"], asleep.get("replicas", 0)) == ("zero", 0)
    assert [greeted(one) for one in answers] == ["Hello you"] * 8
    assert gateway.status()["replicas"] == 1


def test_an_apps_page_and_api_are_there_for_who_knows_the_password(gateway) -> None:
    gateway.build("Hello")
    gateway.deploy()
    gateway.ready()
    for _ in range(3):
        gateway.invoke("hello", json={"name": "you"})
    status = gateway.ask("GET", "/system/regrain/hello.openfaas-fn/status").json()
    page = gateway.ask("GET", "/system/regrain/hello")
    script = gateway.ask("GET", "/system/regrain/hello/page.js")

    assert page.url.endswith("/system/regrain/hello/")
    assert "<title>" in page.text
    assert script.status_code == 200
    assert (status["app"], status["state"], status["load"]["requests"]) == ("hello", "ready", 3)
    assert gateway.ask("GET", "/system/regrain/hello/status", auth=None).status_code == 401
    assert gateway.ask("GET", "/system/regrain/hello/status", auth=("admin", "wrong")).status_code == 401
    assert gateway.ask("GET", "/system/regrain/nobody/").status_code == 404


def test_replicas_are_as_many_as_are_asked_for(gateway, until) -> None:
    gateway.build("Hello")
    gateway.deploy(labels={"com.openfaas.scale.min": "2"})
    until(lambda: gateway.status().get("availableReplicas") == 2, "two replicas")
    gateway.ask("POST", "/system/scale-function/hello", json={"serviceName": "hello", "replicas": 3})
    until(lambda: gateway.status().get("availableReplicas") == 3, "three replicas")

    until(lambda: len(gateway.living()) == 4, "there are a zygote and three replicas")
    changes = gateway.ask("GET", "/system/regrain/hello/status").json()["transitions"]
    assert {one["by"] for one in changes} == {"gateway"}


def test_replicas_follow_the_load_and_go_where_nobody_asks(gateway, until, load) -> None:
    gateway.build("Hello")
    scale = "com.openfaas.scale."
    labels = {
        "min": "1",
        "max": "2",
        "target": "1",
        "zero": "true",
        "zero-duration": "2s",
        "down.window": "1s",
    }
    gateway.deploy(labels={scale + name: text for name, text in labels.items()})
    asking = load(gateway)
    until(lambda: gateway.status().get("availableReplicas") == 2, "two replicas under load")
    asking.end()
    until(lambda: gateway.status().get("state") == "zero", "none without")
    again = gateway.invoke("hello", json={"name": "you"})

    assert {status for status, _ in asking.answers} == {200}
    assert greeted(again) == "Hello you"


def test_functions_serve_on_without_the_control_plane_and_come_back_with_the_front(gateway, until) -> None:
    gateway.build("Hello")
    gateway.deploy()
    gateway.deploy("cat", "functions/alpine", envProcess="cat")
    gateway.ready()
    gateway.child("control").suspend()  # it neither answers nor is started again
    served = [greeted(gateway.invoke("hello", json={"name": "you"})) for _ in range(20)]
    gateway.child("control").kill()
    killed = [greeted(gateway.invoke("hello", json={"name": "you"})) for _ in range(20)]
    before = gateway.child("plane")
    orphans = before.children(recursive=True)
    before.kill()
    before.wait(PATIENCE)
    again = greeted(gateway.invoke("hello", json={"name": "again"}))

    assert served == killed == ["Hello you"] * 20
    assert again == "Hello again"
    assert gateway.invoke("cat", data=b"x").text == "x"
    assert gateway.child("plane").pid != before.pid
    assert not psutil.wait_procs(orphans, PATIENCE)[1]


def test_an_app_is_asked_at_its_own_path_and_at_the_root(gateway, greeting) -> None:
    gateway.build(app=greeting("Hello").replace("sample=", 'path="/api/predict", sample='))
    gateway.deploy()
    gateway.ready()

    answers = [gateway.invoke("hello", path, json={"name": "you"}) for path in ("/api/predict", "/", "")]
    lost = gateway.invoke("hello", "/predict", json={"name": "you"})

    assert [greeted(answer) for answer in answers] == ["Hello you"] * 3
    assert (lost.status_code, "there are /, /api/predict, /_/health" in lost.json()["detail"]) == (404, True)
    assert "/api/predict" in gateway.invoke("hello", "/_/openapi.json", method="GET").json()["paths"]
