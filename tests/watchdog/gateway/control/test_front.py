"""The front is asked with bounded patience; one that does not answer well costs what it would have said."""

from __future__ import annotations

import socket
import threading

import pytest

from regrain_watchdog.gateway.control import front as fronts
from regrain_watchdog.gateway.control.front import Front


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """Serve one connection with these bytes; none: leave it waiting."""
    path = tmp_path / "front.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    threads = []

    def serve(answer: bytes) -> Front:
        monkeypatch.setattr(fronts, "TIMEOUT", 60.0 if answer else 0.2)

        def once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                connection.recv(1) if not answer else None

        threads.append(threading.Thread(target=once))
        threads[-1].start()
        return Front(path)

    yield serve
    for thread in threads:
        thread.join()
    listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[",
    ],
)
def test_an_answer_that_is_none_is_as_good_as_none(answering, answer, caplog):
    assert answering(answer).standings() == {}
    assert caplog.records[0].message.startswith("the front does not answer: ")


def test_a_front_that_is_not_there_is_said_once(tmp_path, caplog):
    front = Front(tmp_path / "front.sock")

    for _ in range(3):
        front.changed()
        assert front.standings() == {}

    assert [record.message for record in caplog.records] == [
        "the front does not answer: [Errno 2] No such file or directory"
    ]
