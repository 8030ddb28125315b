import asyncio
import itertools
import json
import time

import pytest

from regrain_watchdog.front.events import LOOKERS, Events


class Stream:
    """A connection that takes events; `closed` makes it fail as a caller that has gone."""

    def __init__(self, fails=None):
        self.sent = []
        self.status = 0
        self.fails = fails

    def response_stream(self, status, headers):
        self.status = status
        assert ("content-type", "text/event-stream") in headers
        return self

    async def send_bytes(self, data):
        if self.fails is not None and self.sent:
            raise self.fails
        self.sent.append(data)

    def told(self):
        return [
            json.loads(line[6:])
            for data in self.sent
            for line in data.decode().split("\n")
            if line[:5] == "data:"
        ]


def _numbered():
    numbers = itertools.count()
    return lambda: str(next(numbers)).encode()


async def _until(claim):
    end = time.monotonic() + 60
    while not claim():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


def test_snapshots_come_one_after_another_until_the_end():
    async def scenario():
        events, stream = Events(_numbered(), period=0.005), Stream()
        serving = asyncio.create_task(events.serve(stream))
        await _until(lambda: len(stream.told()) >= 3)
        events.stop()
        await asyncio.wait_for(serving, 60)
        return stream

    stream = asyncio.run(scenario())

    assert stream.told() == list(range(len(stream.told())))
    assert stream.sent[0].startswith(b"retry: 1000\n\n")
    assert all(data.endswith(b"\n\n") for data in stream.sent)


def test_all_who_look_share_one_snapshot():
    async def scenario():
        events, streams = Events(_numbered(), period=60.0), [Stream() for _ in range(3)]
        serving = [asyncio.create_task(events.serve(stream)) for stream in streams]
        await _until(lambda: all(stream.sent for stream in streams))
        events.stop()
        await asyncio.gather(*serving)
        return [stream.told() for stream in streams]

    assert asyncio.run(scenario()) == [[0, 1]] * 3


def test_who_comes_after_the_end_gets_one_last_snapshot():
    async def scenario():
        events, stream = Events(_numbered()), Stream()
        events.stop()
        await asyncio.wait_for(events.serve(stream), 60)
        return stream.told()

    assert asyncio.run(scenario()) == [0]


def test_too_many_are_refused_and_those_who_leave_make_room(listen, until):
    class Page:
        def __init__(self):
            self.events = None

        async def __rsgi__(self, scope, proto):
            self.events = self.events or Events(_numbered(), period=0.01)
            try:
                await self.events.serve(proto)
            except Exception as error:
                proto.response_bytes(int(error.status), list(error.headers.items()), b"")

    page = Page()
    client = listen(page)
    lookers = [client.connect() for _ in range(LOOKERS)]
    for looker in lookers:
        looker.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"text/event-stream" in looker.recv(1000)

    refused = client.request("GET")
    lookers.pop().close()

    assert (refused.status, refused.headers["retry-after"]) == (503, "10")
    until(lambda: page.events._lookers < LOOKERS)
    for looker in lookers:
        looker.close()
    until(lambda: page.events._lookers == 0)


def test_a_snapshot_that_fails_is_not_hidden():
    async def scenario():
        def broken():
            raise ValueError("no snapshot")

        await Events(broken).serve(Stream())

    with pytest.raises(ValueError, match="no snapshot"):
        asyncio.run(scenario())
