from __future__ import annotations

import asyncio

import pytest

from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.remote.line import Line, PodError, Terms
from regrain_watchdog.front.remote.pod import Pod

SECRET = "a secret of the pods"
TERMS = Terms(secret=SECRET, version="v", epoch=lambda: 3, limit=1 << 16)
PATIENCE = 60.0


class Other:
    """A pod that answers as it is told to, and keeps what it was asked."""

    def __init__(self, status=200, body=b"good"):
        self.status, self.body = status, body
        self.asked = []
        self.hold = None

    async def __rsgi__(self, scope, proto):
        self.asked.append((scope.method, scope.path, dict(scope.headers), await proto()))
        if self.hold is not None and scope.method == "POST":
            await self.hold.wait()
        proto.response_bytes(self.status, [("content-type", "text/plain")], self.body)


def ask(loop, client, frame=b"frame", *, timeout=PATIENCE, twice=False):
    async def asked():
        line = Line(f"http://127.0.0.1:{client.port}", TERMS)
        try:
            return await line.ask("POST", "/_/groups/größe", frame, timeout=timeout, twice=twice)
        finally:
            line.close()

    return loop.run(asked())


def test_a_request_is_signed_over_the_path_as_the_other_reads_it(loop, listen):
    other = Other()

    assert ask(loop, listen(other)) == b"good"

    ((method, path, headers, body),) = other.asked
    assert (method, path, body) == ("POST", "/_/groups/größe", b"frame")
    signed = wire.signature(SECRET, method, path, body, version="v", epoch=3)
    assert headers[wire.SIGNATURE] == signed
    assert (headers[wire.VERSION], headers[wire.EPOCH]) == ("v", "3")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, {"gone", "refused"}),
        (409, {"gone", "refused"}),
        (404, {"gone"}),
        (503, {"gone"}),
        (400, {"ran"}),
        (413, {"ran"}),
        (500, {"ran"}),
    ],
)
def test_what_an_answer_says_of_what_was_run(loop, listen, status, said):
    with pytest.raises(PodError, match=f"{status} because") as caught:
        ask(loop, listen(Other(status, b"because")))

    names = ("ran", "gone", "refused", "timed_out")
    assert {name for name in names if getattr(caught.value, name)} == said


def test_an_answer_that_is_too_large_is_not_read_to_its_end(loop, listen):
    with pytest.raises(PodError, match="over 65536 bytes") as caught:
        ask(loop, listen(Other(body=b"x" * (1 << 20))))
    assert caught.value.ran


def test_a_pod_that_does_not_answer_in_time_is_not_waited_for(loop, listen, with_time):
    other = Other()
    other.hold = asyncio.Event()

    def given_up(seconds):
        with pytest.raises(PodError) as caught:
            ask(loop, listen(other), timeout=seconds)

        assert (caught.value.ran, caught.value.timed_out) == (True, True)

    with_time(given_up, 0.05)


def test_nobody_there_has_run_nothing(loop, listen):
    client = listen(Other())
    client.port = 1  # where nobody listens

    with pytest.raises(PodError) as caught:
        ask(loop, client)

    assert (caught.value.ran, caught.value.gone) == (False, True)


def test_what_could_not_be_sent_in_time_has_not_run(loop):
    async def scenario():
        line = Line("http://127.0.0.1:1", TERMS)
        line.pool.connect = asyncio.Event().wait  # as where what is sent there gets lost
        return await line.ask("POST", "/p", b"frame", timeout=0.01)

    with pytest.raises(PodError, match="no connection within") as caught:
        loop.run(scenario())

    assert (caught.value.ran, caught.value.gone, caught.value.timed_out) == (False, True, False)


@pytest.mark.parametrize("url", ["http://a..b:80", f"http://{'a' * 70}:80"])
def test_nobody_is_at_what_is_no_name_of_a_host(loop, url):
    async def scenario():
        return await Line(url, TERMS).ask("POST", "/p", b"frame", timeout=PATIENCE)

    with pytest.raises(PodError) as caught:
        loop.run(scenario())

    assert (caught.value.ran, caught.value.gone, caught.value.timed_out) == (False, True, False)


class Watch:
    """A peer as its pod knows it."""

    def __init__(self):
        self.told = asyncio.Event()

    def moved(self):
        self.told.set()

    async def until_open(self, pod):
        while not pod.is_open:
            self.told.clear()
            await asyncio.wait_for(self.told.wait(), PATIENCE)


async def asked(pod):
    told = asyncio.get_running_loop().create_future()
    pod.send("/_/groups/a", [b"frame"], told.set_result, timeout=PATIENCE)
    outcome = await told
    if isinstance(outcome, PodError):
        raise outcome
    return outcome


def test_a_pod_is_asked_again_once_it_answers(loop, listen):
    other = Other(503)
    client = listen(other)

    async def scenario():
        pod, watch = Pod(f"http://127.0.0.1:{client.port}", TERMS, lambda: None), Watch()
        pod.peers.append(watch)
        assert not pod.is_open
        assert pod.is_hopeful
        while not other.asked:
            await asyncio.sleep(0)
        other.status = 200
        await watch.until_open(pod)
        assert await asked(pod) == b"good"

        other.status = 503
        watch.told.clear()
        with pytest.raises(PodError):
            await asked(pod)
        assert watch.told.is_set()
        assert not pod.is_open
        assert not pod.is_hopeful
        pod.leave(watch)
        assert pod.closed

    loop.run(scenario())


def test_a_group_that_is_refused_says_nothing_of_others(loop, listen):
    other = Other()
    client = listen(other)

    async def scenario():
        pod, watch = Pod(f"http://127.0.0.1:{client.port}", TERMS, lambda: None), Watch()
        pod.peers.append(watch)
        await watch.until_open(pod)
        other.status = 409
        with pytest.raises(PodError):
            await asked(pod)
        assert pod.is_open
        pod.leave(watch)

    loop.run(scenario())


def test_what_could_not_be_begun_takes_no_place(loop):
    def fail():
        raise RuntimeError("no such luck")

    async def scenario():
        terms = Terms(secret=SECRET, version="v", epoch=fail, limit=1 << 16)
        pod, watch = Pod("http://127.0.0.1:1", terms, lambda: None), Watch()
        pod.peers.append(watch)
        with pytest.raises(RuntimeError):
            await asked(pod)
        assert not pod.asked
        pod.leave(watch)

    loop.run(scenario())


def test_each_request_has_its_own_time(loop, listen, with_time):
    other = Other()
    other.hold = asyncio.Event()
    client = listen(other)

    async def scenario(seconds):
        line, ended = Line(f"http://127.0.0.1:{client.port}", TERMS), []
        first, last = (asyncio.Event() for _ in range(2))

        def told(name, event):
            return lambda outcome: (ended.append((name, outcome.timed_out)), event.set())

        line.send("/p", [b"long"], told("long", last), timeout=2 * seconds, twice=False)
        line.send("/p", [b"short"], told("short", first), timeout=seconds, twice=False)
        given_up = line.send("/p", [b"none"], told("none", last), timeout=seconds, twice=False)
        given_up.cancel()
        await asyncio.wait_for(first.wait(), PATIENCE)
        await asyncio.wait_for(last.wait(), PATIENCE)
        line.close()
        return ended

    def each(seconds):
        assert sorted(loop.run(scenario(seconds))) == [("long", True), ("short", True)]

    with_time(each, 0.05)


def test_what_fails_when_it_is_told_that_it_is_late_keeps_no_other_from_it(loop, listen, caplog):
    other = Other()
    other.hold = asyncio.Event()
    client = listen(other)

    async def scenario():
        line, late = Line(f"http://127.0.0.1:{client.port}", TERMS), asyncio.Event()

        def fail(_outcome):
            raise RuntimeError("no such luck")

        for told in (fail, fail, lambda _outcome: late.set()):
            line.send("/p", [b"frame"], told, timeout=0.01, twice=False)
        await asyncio.wait_for(late.wait(), PATIENCE)
        line.close()
        other.hold.set()

    loop.run(scenario())
    assert "no such luck" in caplog.text
