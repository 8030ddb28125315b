"""An app whose code changes under load: no request fails or crosses versions, and bad code changes nothing."""

from concurrent.futures import ThreadPoolExecutor

from regrain import GrpcClient

PATIENCE = 60.0
"""Seconds that a caller waits for an answer."""
VERSIONED = """
import time

from regrain import App

VERSION = {version!r}
app = App("versioned", sample={{"text": "a"}})


@app.stage()
def one(text: str) -> list[str]:
    return [text, VERSION]


@app.stage()
def two(told: list[str]) -> list[str]:
    time.sleep(0.002)
    return [*told, VERSION]


@app.flow
def flow({parameters}) -> list[str]:
    return two(one(text))
"""


def write(path, version, parameters="text: str"):
    path.write_text(VERSIONED.format(version=version, parameters=parameters))


def test_new_code_under_load_fails_no_request_and_no_request_crosses_versions(
    serve, until, tmp_path, *, asking, operate, settled, grpc_address
):
    write(tmp_path / "app.py", "v0")
    served = serve(tmp_path / "app.py", "--grain", "fine")
    seen = set()

    def ask(session, rng):
        if rng.random() < 0.5:
            _, one, two = client.invoke(text="a")
        else:
            response = session.post(served.url, json={"text": "a"}, timeout=PATIENCE)
            if response.status_code != 200:
                return response.text
            _, one, two = response.json()
        seen.add(one)
        return "" if one == two else f"crossed from {one} to {two}"

    with GrpcClient(grpc_address(served), timeout=PATIENCE) as client, asking(ask) as load:
        until(lambda: "v0" in seen, "the first version is asked")
        for number in range(1, 6):
            write(tmp_path / "app.py", f"v{number}")
            assert operate(served, "/update").status_code == 200
            assert served.call(text="a").json() == ["a", f"v{number}", f"v{number}"]
            until(lambda: settled(served), "the old version has ended")
            until(lambda version=f"v{number}": version in seen, "the new one is asked")
        assert operate(served, "/rollback").status_code == 200
        assert served.call(text="a").json() == ["a", "v4", "v4"]

    assert load.wrong == []
    assert seen == {f"v{number}" for number in range(6)}
    until(lambda: len(served.processes()) == 1 + 2 + 2, "a front, two zygotes, two replicas")


def test_code_that_does_not_load_leaves_the_old_version(serve, until, tmp_path, operate):
    write(tmp_path / "app.py", "old")
    served = serve(tmp_path / "app.py")
    (tmp_path / "app.py").write_text("def broken(:\n")

    refused = operate(served, "/update")

    assert refused.status_code == 409
    assert "the old version stays: " in refused.json()["detail"]
    assert "SyntaxError" in refused.json()["detail"]
    assert served.call(text="a").json() == ["a", "old", "old"]
    until(lambda: len(served.processes()) == 3, "a front, a zygote and a replica")


def test_a_version_with_other_parameters_is_described_and_checked_as_such_and_rolled_back(
    serve, until, tmp_path, operate, settled
):
    write(tmp_path / "app.py", "old")
    served = serve(tmp_path / "app.py")
    before = served.get("/_/openapi.json").json()
    write(tmp_path / "app.py", "new", "text: str, more: int")
    (tmp_path / "app.py").write_text(
        (tmp_path / "app.py").read_text().replace('{"text": "a"}', '{"text": "a", "more": 1}')
    )

    assert operate(served, "/update").status_code == 200

    assert "more" in served.get("/_/openapi.json").text
    assert served.call(text="a").status_code == 400
    assert served.call(text="a", more=1).json() == ["a", "new", "new"]
    until(lambda: settled(served), "the old version has ended")
    assert operate(served, "/rollback").status_code == 200
    assert served.get("/_/openapi.json").json() == before
    assert served.call(text="a").json() == ["a", "old", "old"]
    assert served.call(text="a", more=1).status_code == 400
    until(lambda: settled(served), "the newer version has ended")


def test_a_request_whose_body_is_slow_is_taken_by_the_version_in_force_at_its_end(serve, tmp_path, operate):
    write(tmp_path / "app.py", "old")
    served = serve(tmp_path / "app.py", body_timeout="300s")
    body = b'{"text": "a"}'
    head = (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )

    with served.connect() as slow:
        slow.sendall(head.encode() + body[:5])
        write(tmp_path / "app.py", "new")
        assert operate(served, "/update").status_code == 200
        slow.sendall(body[5:])
        answer = b"".join(iter(lambda: slow.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'["a","new","new"]')


def test_sigterm_during_a_change_ends_everything_and_loses_no_request(serve, until, tmp_path, operate):
    held = tmp_path / "held"
    held.touch()
    waits = f"while text != 'b' and Path({str(held)!r}).exists():\n        time.sleep(0.01)\n    "
    text = (
        VERSIONED.format(version="v", parameters="text: str")
        .replace("import time", "import time\nfrom pathlib import Path")
        .replace("return [text, VERSION]", f"{waits}return [text, VERSION]")
    )
    (tmp_path / "app.py").write_text(text.replace('{"text": "a"}', '{"text": "b"}'))
    served = serve(tmp_path / "app.py", healthcheck_interval="0.3s", drain_timeout="300s")
    (tmp_path / "app.py").write_text(text)  # its sample is held

    with ThreadPoolExecutor(2) as pool:
        changing = pool.submit(operate, served, "/update")
        until(
            lambda: (served.status()["transitions"] or [{}])[0].get("state") == "warming", "the sample runs"
        )
        calling = pool.submit(served.call, text="c")
        until(lambda: served.metric("http_requests_in_flight") == 1, "a call is under way")
        served.signal()

        assert changing.result().status_code == 503
        held.unlink()
        assert calling.result().json() == ["c", "v", "v"]
    assert served.ended() == 0
