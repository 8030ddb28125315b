import asyncio
import threading

import pytest

from regrain.errors import SpecError
from regrain_watchdog.front.listen import Listener


class Gate:
    """Answers a request once it is opened."""

    def __init__(self):
        self.entered = threading.Event()
        self.open = threading.Event()

    async def __rsgi__(self, scope, proto):
        self.entered.set()
        await asyncio.to_thread(self.open.wait)
        proto.response_bytes(200, [], b"done")


async def _started(handler, port=0, **settings):
    listener = Listener(handler, "127.0.0.1", port, **settings)
    await listener.start()
    return listener


def test_port_0_is_any_free_port_and_the_listener_knows_which(listen):
    gate = Gate()
    gate.open.set()
    client = listen(gate)

    assert client.port != 0
    assert client.request("GET").body == b"done"


def test_a_taken_port_is_refused_naming_it_and_how_to_choose_another(loop, listen):
    taken = listen(Gate()).port

    with pytest.raises(
        SpecError, match=rf"port {taken} on 127.0.0.1 is taken.*--metrics-port.*REGRAIN_METRICS_PORT"
    ):
        loop.run(_started(Gate(), taken, name="metrics_port"))


def test_an_address_of_another_machine_is_refused(loop):
    with pytest.raises(SpecError, match=r"cannot listen on 192\.0\.2\.1 port 0"):
        loop.run(Listener(Gate(), "192.0.2.1", 0).start())


def test_stopping_lets_what_is_in_flight_finish_and_refuses_the_new(loop, until):
    gate = Gate()
    listener = loop.run(_started(gate))
    port = listener.port
    answers = []
    caller = threading.Thread(target=lambda: answers.append(_get(port)))
    caller.start()
    gate.entered.wait(60)

    stopping = asyncio.run_coroutine_threadsafe(listener.stop(60.0), loop._loop)
    until(lambda: _is_refused(port))
    assert not stopping.done()
    gate.open.set()

    assert stopping.result(60) is True
    caller.join(60)
    assert answers[0].endswith(b"done")


def test_stopping_gives_up_on_what_does_not_finish_in_time(loop):
    gate = Gate()
    listener = loop.run(_started(gate))
    caller = threading.Thread(target=_get, args=(listener.port,))
    caller.start()
    gate.entered.wait(60)

    assert loop.run(listener.stop(0.01)) is False

    gate.open.set()
    caller.join(60)


def test_a_kept_alive_connection_that_idles_does_not_hold_up_stopping(loop):
    gate = Gate()
    gate.open.set()
    listener = loop.run(_started(gate))
    with _connected(listener.port) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.recv(1000)

        assert loop.run(listener.stop(60.0)) is True


@pytest.mark.parametrize(
    "connections",
    [pytest.param(1024, id="more than one turn takes"), pytest.param(1, id="more than may be open")],
)
def test_whoever_was_let_in_by_the_kernel_before_a_stop_is_answered(loop, connections):
    gate = Gate()
    gate.open.set()
    callers = []

    async def stopped():
        listener = await _started(gate, connections=connections)
        for _ in range(100):  # all before the loop's next turn
            callers.append(_connected(listener.port))
            callers[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return await listener.stop(60.0)

    assert loop.run(stopped())

    for caller in callers:
        with caller:
            assert caller.recv(1000).endswith(b"done")


def test_a_listener_that_never_started_stops_at_once(loop):
    assert loop.run(Listener(Gate(), "127.0.0.1", 0).stop(0.0)) is True


def test_headers_that_do_not_come_are_not_waited_for(loop, with_time):
    def refused(seconds):
        listener = loop.run(_started(Gate(), header_timeout=seconds))
        try:
            with _connected(listener.port) as slow:
                slow.sendall(b"GET / HT")

                assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        finally:
            assert loop.run(listener.stop(60.0))

    with_time(refused, 0.05)


def _connected(port):
    import socket

    return socket.create_connection(("127.0.0.1", port), timeout=60)


def _get(port):
    with _connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := connection.recv(1000):
            answer += chunk
        return answer


def _is_refused(port):
    try:
        _connected(port).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it was closed while the kernel let us in
        return True
    return False
