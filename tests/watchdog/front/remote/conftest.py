"""A line to a pod that a test scripts."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from regrain_watchdog.front.remote.line import Line


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Keep connections however long the machine stands still, and wait as long for one to go on in frames."""
    monkeypatch.setattr("regrain_watchdog.front.upstream.client.IDLE", 60.0)
    monkeypatch.setattr("regrain_watchdog.front.remote.line.SWITCH", 60.0)


@pytest.fixture
def lined(loop):
    """Run a scenario of a line, under these terms, to a pod: what comes of it."""

    def run(pod, terms, scenario_of):
        async def scenario():
            writers = []

            async def served(reader, writer):
                writers.append(writer)
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    await pod(reader, writer)

            server = await asyncio.start_server(served, "127.0.0.1", 0)
            line = Line(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", terms)
            try:
                return await scenario_of(line)
            finally:
                line.close()
                server.close()
                for writer in writers:
                    writer.transport.abort()
                await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

        return loop.run(scenario())

    return run
