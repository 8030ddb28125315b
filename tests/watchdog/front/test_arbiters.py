"""The books of an arbiter that another process serves."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from regrain.wire.lease import Share
from regrain_runtime.gpu.client import Client
from regrain_watchdog.front import arbiters
from regrain_watchdog.front.arbiters import Far
from regrain_watchdog.gpu.limits import Device
from regrain_watchdog.gpu.server import Server

PATIENCE = 60.0
"""Seconds after which a test gives up."""


class Exhausted(ThreadPoolExecutor):
    """Has no thread to give; `asked`: is told of each that was asked for."""

    def __init__(self, asked: asyncio.Queue[None]) -> None:
        super().__init__()
        self._asked = asked

    def submit(self, *_, **__):
        self._asked.put_nowait(None)
        raise RuntimeError("can't start new thread")


def test_books_are_read_again_after_whatever_kept_them_from_being_read(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(arbiters, "LOOK", 0.01)

    async def run() -> None:
        asked: asyncio.Queue[None] = asyncio.Queue()
        server = Server(tmp_path / "gpu0.sock", Device(sms=80, memory=1000))
        server.start()
        far = Far(server.path)
        await far.begin()
        asyncio.get_running_loop().set_default_executor(Exhausted(asked))
        for _ in range(3):
            await asked.get()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        client = Client(server.path, "a", Share())
        await asyncio.to_thread(client.join)
        while not far.status().members:
            await asyncio.sleep(arbiters.LOOK)
        far.stop()
        client.close()
        server.stop()

    asyncio.run(asyncio.wait_for(run(), PATIENCE))

    assert [record.getMessage() for record in caplog.records] == ["can't start new thread"]
