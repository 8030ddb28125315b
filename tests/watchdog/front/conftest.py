"""An app in memory behind the real listeners, on loopback and any free port."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import random
import resource
import socket
import threading
import time
from dataclasses import dataclass

import pytest
import uvloop

from regrain.grain import make_plan
from regrain.graph import Graph, Ref
from regrain.manifest import Manifest, Parameter, SLOSpec
from regrain_watchdog.front.call import Call, Reply
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.flight import leaves
from regrain_watchdog.front.http import Ingress
from regrain_watchdog.front.listen import Listener
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.replica import State
from regrain_watchdog.front.service import App
from regrain_watchdog.front.streaming import Stream
from regrain_watchdog.front.zygote import Zygote
from regrain_watchdog.policy import resident

PATIENCE = 60.0
START = 60.0
"""Seconds that a test with real replicas has for each step: they start, load and end there."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class EchoService:
    """A Service that runs `behave` in place of stages; by default a call's values are its answer."""

    def __init__(self, manifest, behave=None):
        self.manifest = manifest
        self.calls = []
        self.trouble = ""
        self._behave = behave

    async def submit(self, call):
        self.calls.append(call)
        if self._behave is not None:
            return await self._behave(call)
        values = call.values
        return Reply(value=next(iter(values.values())) if len(values) == 1 else values)

    def unready(self):
        return self.trouble

    def status(self):
        return {"app": self.manifest.app}


class Loop:
    """A uvloop in a thread of its own, so that tests stay plain functions."""

    def __init__(self):
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


class Client:
    """Speaks HTTP to a port of this machine."""

    def __init__(self, port):
        self.port = port

    def request(self, method, path="/", body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            named = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()

    def post(self, body=b"", content_type="", path="/", **headers):
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.request(
            "POST", path, body, named | ({"Content-Type": content_type} if content_type else {})
        )

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


class Served(Client):
    """An Ingress that listens."""

    def __init__(self, loop, service, measure, ingress, listener):
        super().__init__(listener.port)
        self.loop, self.service, self.measure = loop, service, measure
        self.ingress, self.listener = ingress, listener


async def until_soon(claim):
    """Wait for what this thread's loop, or another process, is about to make true."""
    end = time.monotonic() + START
    while not claim():
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.002)


class Callers:
    """So many callers that ask one after another as long as the block lasts; whatever goes wrong ends it badly."""

    def __init__(self, ask, count):
        self.answered = 0
        self._ask, self._count, self._ended = ask, count, asyncio.Event()

    async def _call(self, seed):
        rng = random.Random(seed)
        while not self._ended.is_set():
            await asyncio.wait_for(self._ask(rng), START)
            self.answered += 1

    async def more(self, count):
        """Wait until so many more have been answered."""
        enough = self.answered + count
        await until_soon(lambda: self.answered >= enough)

    async def __aenter__(self):
        self._calling = asyncio.gather(*(self._call(seed) for seed in range(self._count)))
        return self

    async def __aexit__(self, *_):
        self._ended.set()
        await asyncio.wait_for(self._calling, START)


class Stand:
    """An app of two stages or more on real replicas, without a server: plans come and go as a test says."""

    def __init__(self, manifest, crew):
        self.manifest, self.crew, self.live = manifest, crew, None
        self.measure = Measure()

    def app(self, grain, replicas=""):
        plan = make_plan(self.manifest, grain, replicas)
        return App(plan, self.crew, max_queue=500, measure=self.measure, failed=lambda _: None)

    async def change(self, grain, replicas="", *, drained=True):
        async with self.live.turn():
            change = await asyncio.wait_for(self.live.change(self.app(grain, replicas)), START)
        if drained:
            await self.drained()
        return change

    async def drained(self):
        await asyncio.wait_for(self.live.drained(), START)

    def call(self, text="a"):
        now = time.monotonic()
        return asyncio.ensure_future(
            self.live.submit(Call(id="c", values={"text": text}, headers=b"", arrived=now))
        )

    async def ask(self, text="a"):
        said, *told = (await asyncio.wait_for(self.call(text), START)).value.split()
        assert said == text
        return tuple(map(int, told))

    def stream(self, text):
        call = Call(id="c", values={"text": text}, headers=b"", arrived=time.monotonic())
        return Stream(self.live, call)

    async def take(self, text, limit=None):
        """Read a stream, to its end or so many items of it."""
        stream, items = self.stream(text), []
        try:
            await stream.begin()
            async for item in stream:
                items.append(item)
                if len(items) == limit:
                    break
        finally:
            stream.close()
        return items

    @property
    def pids(self):
        return sorted(replica.pid for replica in self.crew.replicas if replica.pid)

    def ready(self, count):
        replicas = self.crew.replicas
        return len(replicas) == count and all(one.state is State.READY for one in replicas)

    async def until(self, claim):
        await until_soon(claim)

    def callers(self, ask, count):
        return Callers(ask, count)


def pinned(crew):
    """Return the bytes that the samples hold which later replicas are warmed up with."""
    samples = [parts for learned in crew._learned.values() for unit in learned.sample for parts in unit]
    held = {leaf.generation for parts in samples for leaf in leaves(parts.values)}
    return sum(crew.pool._lives[generation].extent.nbytes for generation in held)


@pytest.fixture
def standing(tmp_path):
    """Stand an app up for a block's length, from its code; afterwards nothing of a call must be left."""

    @contextlib.asynccontextmanager
    async def _standing(
        code, grain="coarse", replicas="", *, keeps=resident.PLAN, sample="sample", patience=START
    ):
        path = tmp_path / "pair_app.py"
        path.write_text(code)
        zygote = Zygote(str(path), died=lambda _: None, exited=lambda *_: None, numbers=itertools.count(1))
        stand = None
        try:
            manifest = await zygote.hello(START)
            stand = Stand(manifest, Crew(manifest, zygote, memory=1 << 26, keeps=keeps))
            app = stand.app(grain, replicas)
            stand.live = Live(app, patience=patience, sample=lambda _: {"text": sample})
            await asyncio.wait_for(app.start({"text": sample}), START)
            yield stand
            assert (
                stand.crew.pool.in_use - pinned(stand.crew) <= 1 << 19
            )  # what a warm-up holds that runs now
        finally:
            if stand is not None and stand.live is not None:
                await asyncio.wait_for(stand.live.stop(), START)
            await zygote.stop()

    return _standing


def until(claim):
    """Wait for what another thread is about to make true."""
    end = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.002)


@pytest.fixture(name="until")
def _until():
    return until


@contextlib.contextmanager
def without_descriptors(more=None):
    """Have this process get no more descriptors for a block's length, or only so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)  # the lowest that is free
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 if more is None else free + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(name="without_descriptors")
def _without_descriptors():
    return without_descriptors


@pytest.fixture
def loop():
    made = Loop()
    yield made
    made.close()


async def _end(listener):
    if not await listener.stop(0.0):
        listener.cut()
        assert await listener.stop(PATIENCE)


@pytest.fixture
def listen(loop):
    """Serve any handler; returns a client of it."""
    listeners = []

    async def _start(handler, **settings):
        listener = Listener(handler, "127.0.0.1", 0, **settings)
        await listener.start()
        listeners.append(listener)
        return listener

    yield lambda handler, **settings: Client(loop.run(_start(handler, **settings)).port)
    for listener in listeners:
        loop.run(_end(listener))


@pytest.fixture
def app_of():
    """Make a manifest of these parameters; the default app takes and gives bytes."""

    def _make(*parameters, answer=None, slo=None):
        parameters = parameters or (Parameter(name="image", kind="bytes", schema={"type": "string"}),)
        return Manifest(
            app="echo",
            stages=(),
            graph=Graph(inputs=tuple(p.name for p in parameters), nodes=(), output=Ref("$image")),
            parameters=parameters,
            answer=answer or Parameter(name="", kind="json"),
            slo=SLOSpec(latency=slo, attainment=0.95) if slo else None,
        )

    return _make


@pytest.fixture
def echo_service():
    """Make a Service of a manifest, for other ingresses than HTTP."""
    return EchoService


@pytest.fixture
def serve(loop, app_of):
    """Serve an app whose stages are `behave`; returns a client that also knows the server's parts."""
    made = []

    async def _start(manifest, behave, config):
        service = EchoService(manifest, behave)
        measure = Measure(latency=config.latency(manifest))
        ingress = Ingress(service, measure, config)
        listener = Listener(
            ingress, config.host, config.port, header_timeout=config.header_timeout, connections=64
        )
        await listener.start()
        return Served(loop, service, measure, ingress, listener)

    def _serve(manifest=None, behave=None, **settings):
        served = loop.run(_start(manifest or app_of(), behave, Config(port=0, **settings)))
        made.append(served)
        return served

    yield _serve
    for served in made:
        loop.run(_end(served.listener))
