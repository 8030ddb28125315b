"""Debian's Chromium without a screen, driven over the WebDriver protocol."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 60.0
LOOK = 0.05
ADDRESS = re.compile(r"admin on (\S+)")
READY = re.compile(r"ready in .* on (\S+), grain")
LISTENS = re.compile(r"started successfully on port (\d+)")


class Browser:
    """One window."""

    def __init__(self, driver: str, profile: Path, size: str) -> None:
        options = {"args": [*FLAGS, f"--user-data-dir={profile}", f"--window-size={size}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self._ask("POST", f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"{driver}/session/{made['sessionId']}"

    def open(self, url: str) -> None:
        """Load a page; what the one before has complained of is forgotten."""
        self._ask("POST", f"{self._session}/url", {"url": "about:blank"})
        self.complaints()
        self._ask("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> object:
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """What a reader sees of an element; "" where there is none."""
        found = "const found = document.querySelector(arguments[0]);"
        return str(self.run(f"{found} return found?.innerText ?? found?.textContent ?? ''", selector))

    def until(self, claim: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not claim():
            assert time.monotonic() < end, f"not within {PATIENCE:g} s: {what}\n{self.text('body')}"
            time.sleep(LOOK)

    def complaints(self) -> list[str]:
        """Errors and warnings in the console: of scripts, of what was not found, of what a policy forbade."""
        told = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in told]

    def prefer(self, scheme: str) -> None:
        """Ask for "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", {"features": features})

    def command(self, name: str, parameters: dict[str, object]) -> object:
        return self._ask("POST", f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def picture(self) -> bytes:
        shot = self.command("Page.captureScreenshot", {"captureBeyondViewport": True})
        return base64.b64decode(shot["data"])

    def close(self) -> None:
        self._ask("DELETE", self._session)

    def _ask(self, method: str, url: str, body: dict[str, object] | None = None):
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, url, json=body, timeout=60)
        told = answer.json()["value"]
        assert answer.ok, told
        return told


class Run:
    """A `regrain run` process, once it is ready."""

    def __init__(self, folder: Path, app: str, *flags: str, target: str = "app.py") -> None:
        (folder / "app.py").write_text(app)
        ports = ("--port", "0", "--metrics-port", "0")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "regrain_watchdog.cli", "run", target, *ports, *flags],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"XDG_RUNTIME_DIR": str(folder), "PYTHONUNBUFFERED": "1"},
        )
        self.url = self._said(READY)
        self.admin = self._said(ADDRESS)

    def _said(self, pattern: re.Pattern[str]) -> str:
        lines = []
        for line in self.process.stdout or ():
            lines.append(line)
            if found := pattern.search(line):
                return found[1]
        raise AssertionError(f"it ended without saying {pattern.pattern}: {lines}")

    def load(self) -> dict[str, object]:
        """What its API tells of the last half minute."""
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"{self.admin}/status", timeout=60).json()["load"]

    def call(self, *words: str) -> int:
        return self.post({"words": words})

    def post(self, body: dict[str, object]) -> int:
        with requests.Session() as session:
            session.trust_env = False
            return session.post(self.url, json=body, timeout=60).status_code

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            if self.process.stdout:
                self.process.stdout.close()


@contextlib.contextmanager
def browsing(folder: Path, size: str = "1280,1000") -> Iterator[Browser]:
    """Start a browser whose profile is in a folder of its own."""
    command = ["chromedriver", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        try:
            browser = Browser(f"http://127.0.0.1:{_port(driver)}", folder, size)
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
            driver.wait(PATIENCE)


def _port(driver: subprocess.Popen[str]) -> int:
    """The port that it has chosen, once it listens there."""
    for line in driver.stdout or ():
        if found := LISTENS.search(line):
            return int(found[1])
    raise AssertionError("chromedriver ended")


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt-get install chromium chromium-driver)")
    with browsing(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Run]]:
    """Start `regrain run`; what still runs at the end is ended."""
    tmp_path.chmod(0o700)
    made: list[Run] = []

    def begin(app: str, *flags: str, target: str = "app.py") -> Run:
        made.append(Run(tmp_path, app, *flags, target=target))
        return made[-1]

    yield begin
    for run in made:
        run.end()
