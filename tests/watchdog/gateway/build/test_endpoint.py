"""`POST /build` as faas-cli speaks it."""

from __future__ import annotations

import hashlib
import hmac
import io
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from regrain_watchdog.gateway.build.archive import Bounds
from regrain_watchdog.gateway.build.builder import Builder, Limits
from regrain_watchdog.gateway.build.endpoint import Progress, blueprint, make
from regrain_watchdog.gateway.sandbox import Means
from regrain_watchdog.gateway.store import Store

KEY = b"the payload secret"
MIB = 1 << 20
Sent = Callable[..., bytes]


def client(builder: Builder, key: Callable[[], bytes] = lambda: KEY + b"\n") -> FlaskClient:
    app = Flask("test")
    app.register_blueprint(blueprint(builder, key))
    return app.test_client()


def signature(body: bytes, key: bytes = KEY) -> dict[str, str]:
    return {"X-Build-Signature": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()}


def post(builder: Builder, body: bytes) -> TestResponse:
    return client(builder).post("/build", data=body, headers=signature(body))


def lines(answer: TestResponse) -> list[Progress]:
    return [msgspec.json.decode(line, type=Progress) for line in answer.data.splitlines()]


def test_a_build_is_told_line_by_line(builder: Builder, store: Store, sent: Sent) -> None:
    answer = post(builder, sent())

    found = lines(answer)
    assert (answer.status_code, answer.mimetype) == (200, "application/x-ndjson")
    assert found[-1] == Progress(image="hello", status="success")
    assert {line.status for line in found[:-1]} == {"in_progress"}
    assert found[0].log == ["hello: 2 files, 199 B, from the template regrain"]
    assert msgspec.json.decode(answer.data.splitlines()[0]).keys() == {"log", "image", "status", "error"}
    assert store.image("hello")


def test_a_build_that_fails_says_why(builder: Builder, store: Store, sent: Sent) -> None:
    found = lines(post(builder, sent("import nothing_of_this_name\n")))

    assert found[-1].status == "failed"
    assert "No module named 'nothing_of_this_name'" in found[-1].error
    assert found[-1].log == [f"failed: {found[-1].error}"]
    assert store.image("hello") is None


def test_a_fault_of_the_gateways_own_is_told(
    builder: Builder, sent: Sent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(*_: object) -> None:
        raise ZeroDivisionError("in the product")

    monkeypatch.setattr("regrain_watchdog.gateway.build.template.handler", faulty)

    found = lines(post(builder, sent()))

    assert (found[-1].status, found[-1].error) == ("failed", "the gateway failed at this; its log says how")
    assert "in the product" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(lambda body: {}, id="missing"),
        pytest.param(lambda body: signature(body, b"guess"), id="another key"),
        pytest.param(lambda body: signature(body + b"x"), id="another body"),
        pytest.param(lambda body: {"X-Build-Signature": "sha256="}, id="empty"),
        pytest.param(lambda body: {"X-Build-Signature": "\xff"}, id="no ASCII"),
    ],
)
def test_nothing_is_unpacked_without_the_key(
    headers: Callable[[bytes], dict[str, str]],
    builder: Builder,
    state: Path,
    sent: Sent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpacked: list[object] = []
    monkeypatch.setattr("regrain_watchdog.gateway.build.archive.unpack", unpacked.append)
    body = sent()

    answer = client(builder).post("/build", data=body, headers=headers(body))

    assert answer.status_code == 401
    assert "payload secret" in answer.text
    assert unpacked == []
    assert list((state / "builds").iterdir()) == []


def test_an_archive_with_a_way_out_is_refused(builder: Builder, tarred: Callable[..., bytes]) -> None:
    found = lines(post(builder, tarred({"../../out": "x"})))

    assert found[-1].status == "failed"
    assert "no path below the context" in found[-1].error


def test_a_large_archive_is_refused(make_builder: Callable[..., Builder], state: Path, sent: Sent) -> None:
    answer = post(make_builder(archive=Bounds(sent=1024)), sent())

    assert answer.status_code == 413
    assert "the archive has more than 1 KiB" in answer.text
    assert list((state / "builds").iterdir()) == []


def test_a_large_archive_of_unknown_length_is_refused(
    make_builder: Callable[..., Builder], sent: Sent
) -> None:
    answer = client(make_builder(archive=Bounds(sent=1024))).post(
        "/build",
        input_stream=io.BytesIO(sent()),
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert answer.status_code == 413


@pytest.mark.parametrize("headers", [signature, lambda _: {}], ids=["signed", "not signed"])
def test_what_is_received_leaves_what_is_to_stay_free(
    headers: Callable[[bytes], dict[str, str]],
    state: Path,
    store: Store,
    filling: Callable[[int], list[int]],
) -> None:
    builder = Builder(state, store, Means(), {}, Limits(spare=2 * MIB))
    left = filling(4 * MIB)
    body = bytes(8 * MIB)
    sent = io.BytesIO(body)

    answer = client(builder).post(
        "/build", input_stream=sent, content_length=len(body), headers=headers(body)
    )

    assert answer.status_code == 503
    assert sent.tell() == len(body)
    assert "the disk has 2 MiB left, and builds leave 2 MiB" in answer.text
    assert min(left) == 2 * MIB
    assert list((state / "builds").iterdir()) == []


def test_too_many_builds_are_told_to_come_again(make_builder: Callable[..., Builder], sent: Sent) -> None:
    builder = make_builder(at_once=1)

    with builder.draft():
        answer = post(builder, sent())

    assert answer.status_code == 503
    assert "try again" in answer.text


def test_no_key_is_no_build(builder: Builder, sent: Sent, tmp_path: Path) -> None:
    answer = client(builder, (tmp_path / "missing").read_bytes).post("/build", data=sent())

    assert answer.status_code == 503


def test_a_client_that_goes_away_leaves_nothing(
    builder: Builder, store: Store, state: Path, sent: Sent
) -> None:
    body = sent()
    answer = client(builder).post("/build", data=body, headers=signature(body), buffered=False)

    next(answer.iter_encoded())
    answer.close()

    assert list((state / "builds").iterdir()) == []
    assert store.image("hello") is None


def test_a_gateway_has_the_endpoint_over_its_folder(state: Path, store: Store, sent: Sent) -> None:
    (state / "payload-secret").write_bytes(KEY)
    app = Flask("test")
    app.register_blueprint(make(state, store, state / "payload-secret", os.environ))
    body = sent()

    answer = app.test_client().post("/build", data=body, headers=signature(body))

    assert lines(answer)[-1].status == "success"
    assert store.image("hello")
