"""The keeper, the control plane under gunicorn, and a front that hands everything on to it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from regrain_watchdog.gateway.credentials import Credentials
from regrain_watchdog.gateway.settings import Settings

PATIENCE = 60.0
FRONT = """
import asyncio, signal, socket, sys
from regrain_watchdog.front.http1.limits import Limits
from regrain_watchdog.front.http1.port import Port
from regrain_watchdog.gateway.relay import Relay
from regrain_watchdog.gateway.settings import Settings

async def serve():
    bound = socket.socket(fileno=int(sys.argv[2]))
    bound.setblocking(False)
    port = Port(Relay(Settings.decode(sys.argv[1]).control_socket), bound, Limits(), None)
    port.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await port.stop(10)

asyncio.run(serve())
"""
KEEPER = f"""
import asyncio, sys
from regrain_watchdog.gateway.keeper import Keeper, listening, prepared
from regrain_watchdog.gateway.settings import Settings

async def keep(settings):
    port = listening("127.0.0.1", 0)
    print(port.getsockname()[1], flush=True)
    front = [sys.executable, "-c", {FRONT!r}, settings.encode(), str(port.fileno())]
    control = [sys.executable, "-m", "regrain_watchdog.gateway.control", settings.encode()]
    await Keeper(port, front, control).keep()

settings = Settings.decode(sys.argv[1])
with prepared(settings):
    asyncio.run(keep(settings))
"""


@pytest.mark.process
def test_the_api_is_back_after_its_process_was_killed_and_all_end_together(tmp_path: Path) -> None:
    settings = Settings(state=str(tmp_path))
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, settings.encode()], stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdout is not None
    url = f"http://127.0.0.1:{int(keeper.stdout.readline())}"
    password = Credentials.load(tmp_path).password

    def status() -> int:
        with requests.Session() as session:
            session.trust_env = False
            session.auth = ("admin", password)
            return session.get(f"{url}/system/info", timeout=PATIENCE).status_code

    def answers() -> set[int]:
        """Ask until the control plane answers; what was answered meanwhile."""
        seen: set[int] = set()
        end = time.monotonic() + PATIENCE
        while 200 not in seen and time.monotonic() < end:
            seen.add(status())
        return seen

    assert 200 in answers()
    found = [one for one in psutil.Process(keeper.pid).children() if "gateway.control" in str(one.cmdline())]
    for process in (*found, *found[0].children()):
        with contextlib.suppress(psutil.NoSuchProcess):  # the keeper ends the others with the first
            process.kill()
    seen = answers()
    children = psutil.Process(keeper.pid).children(recursive=True)
    keeper.terminate()

    assert len(found) == 1
    assert 200 in seen
    assert seen <= {200, 502, 503}
    assert keeper.wait(PATIENCE) == 0
    assert not psutil.wait_procs(children, PATIENCE)[1]
    keeper.stdout.close()
