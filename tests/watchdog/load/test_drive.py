from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from regrain.errors import SpecError
from regrain_watchdog.load.client import Target
from regrain_watchdog.load.drive import Job, Limits, Sent, run

pytestmark = pytest.mark.process

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def saying(*parts: bytes, goes_on: bool = True):
    async def answer(_, writer: asyncio.StreamWriter) -> bool:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return goes_on

    return answer


def drive(port: int, times: list[float], **limits) -> list[Sent]:
    sent: list[Sent] = []
    jobs = [Job(at=at, target=0, content=lambda at=at: (f"{at}".encode(), "text/plain")) for at in times]

    assert run(
        jobs,
        [Target.of(f"http://127.0.0.1:{port}/app?a=1")],
        Limits(**limits),
        lambda one, _: sent.append(one),
    )

    return sorted(sent, key=lambda one: one.at)


def test_every_request_is_sent_as_it_was_said(server) -> None:
    served = server(saying(OK))

    sent = drive(served.port, [0.0, 0.01, 0.02], headers={"X-Regrain-Key": "k"})

    assert [one.status for one in sent] == [200, 200, 200]
    assert [one.error for one in sent] == ["", "", ""]
    lines = served.requests[0].split(b"\r\n")
    assert lines[0] == b"POST /app?a=1 HTTP/1.1"
    assert {b"X-Regrain-Key: k", b"Content-Type: text/plain", b"Content-Length: 3"} <= set(lines)
    assert sorted(request.rpartition(b"\r\n")[2] for request in served.requests) == [b"0.0", b"0.01", b"0.02"]
    assert all(0 <= one.late <= one.latency for one in sent)


def test_requests_are_sent_whether_or_not_earlier_ones_are_answered(server) -> None:
    """The server answers none before all have come: who waited for answers would wait forever."""
    count = 20

    async def all_at_last(served, writer: asyncio.StreamWriter) -> bool:
        async with served.changed:
            await served.changed.wait_for(lambda: len(served.requests) >= count)
        writer.write(OK)
        return True

    sent = drive(server(all_at_last).port, [0.005 * place for place in range(count)])

    assert [one.status for one in sent] == [200] * count
    latencies = [one.latency for one in sent]
    assert latencies[0] > 0.005 * (count - 2)


def test_connections_are_bounded_and_waiting_for_one_counts(server) -> None:
    served = server(saying(OK))

    sent = drive(served.port, [0.0] * 50, connections=3)

    assert [one.status for one in sent] == [200] * 50
    assert served.most_open <= 3
    assert served.connections <= 3


def test_a_request_without_an_answer_in_time_is_given_up(server) -> None:
    async def never(served, writer: asyncio.StreamWriter) -> bool:
        await asyncio.Event().wait()
        return True

    (sent,) = drive(server(never).port, [0.0], timeout=0.2)

    assert (sent.status, sent.error) == (0, "timeout")
    assert sent.latency >= 0.19  # a loop's timers are coarse to a millisecond


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        pytest.param(saying(goes_on=False), 0, "the server closed the connection", id="hangs up"),
        pytest.param(
            saying(OK[:20], goes_on=False), 0, "the server closed the connection", id="half an answer"
        ),
        pytest.param(saying(b"SMTP ready\r\n\r\n"), 0, "Expected HTTP/", id="no http"),
        pytest.param(saying(b"HTTP/1.1 100 Continue\r\n\r\n", OK), 200, "", id="continue"),
        pytest.param(
            saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"0\r\n\r\n"),
            200,
            "",
            id="chunks",
        ),
        pytest.param(saying(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), 503, "", id="shed"),
        pytest.param(
            saying(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", goes_on=False),
            200,
            "",
            id="close",
        ),
    ],
)
def test_whatever_a_server_does_is_told_apart(server, answer, status: int, error: str) -> None:
    sent = drive(server(answer).port, [0.0, 0.05, 0.1])

    assert [one.status for one in sent] == [status] * 3
    assert all(error in one.error for one in sent)
    assert error or not any(one.error for one in sent)


def test_a_port_where_nobody_listens_is_an_error_of_each_request() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))

        sent = drive(taken.getsockname()[1], [0.0, 0.0])

    assert [one.status for one in sent] == [0, 0]
    assert all("refused" in one.error.lower() for one in sent)


def test_whatever_goes_wrong_with_a_request_is_told_of_it(server) -> None:
    """A body that cannot be made, and a server that is never asked."""
    sent: list[Sent] = []

    def too_large() -> tuple[bytes, str]:
        raise MemoryError

    jobs = [Job(at=0.0, target=0, content=too_large), Job(at=0.0, target=1, content=lambda: (b"", ""))]
    nowhere = Target(host="127.0.0..1", port=1, path="/", tls=False)
    targets = [Target.of(f"http://127.0.0.1:{server(saying(OK)).port}/"), nowhere]

    assert run(jobs, targets, Limits(), lambda one, _: sent.append(one))

    by_target = {one.target: one for one in sent}
    assert (by_target[0].status, by_target[0].error) == (0, "MemoryError")
    assert by_target[1].status == 0
    assert "idna" in by_target[1].error


@pytest.fixture
def full():
    """A port that takes no connection any more: its one place is taken, and nobody accepts."""
    with socket.socket() as listening, contextlib.ExitStack() as held:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def test_no_connection_in_time_is_no_answer_that_takes_too_long(full, monkeypatch) -> None:
    monkeypatch.setattr("regrain_watchdog.load.client.CONNECT", 0.1)

    (failed,) = drive(full, [0.0], timeout=30.0)
    monkeypatch.setattr("regrain_watchdog.load.client.CONNECT", 30.0)
    (unfinished,) = drive(full, [0.0], timeout=0.1)

    assert failed.error == "no connection within 0.1 s"
    assert failed.latency < 30.0
    assert unfinished.error == "timeout"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://host", ("host", 80, "/", False)),
        ("https://host/a?b=c", ("host", 443, "/a?b=c", True)),
        ("http://[::1]:8080/x", ("::1", 8080, "/x", False)),
    ],
)
def test_a_url_says_where_requests_go(url: str, told: tuple[str, int, str, bool]) -> None:
    target = Target.of(url)

    assert (target.host, target.port, target.path, target.tls) == told


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:80",
        "ftp://host/",
        "http://",
        "http://host:port/",
        "http://host:99999/",
        "http://[::1/",
        "http://127.0.0..1:8080/",
        f"http://{'a' * 64}.org/",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SpecError, match="URL"):
        Target.of(url)
