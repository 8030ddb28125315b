"""From `faas-cli up` of a changed handler to the new version's first answer, under load.

FAAS_CLI names the binary; without it the same requests are made here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.gateway import served
from benchmarks.gateway.callers import Callers
from benchmarks.gateway.served import Gateway
from benchmarks.record import Results

BAR = 5.0
LOOK = 0.005
STACK = """
version: 1.0
provider:
  name: openfaas
  gateway: {url}
functions:
  hello:
    lang: regrain
    handler: ./hello
    image: hello
"""


def measure(results: Results, options: argparse.Namespace) -> None:
    """Change the handler once a round; what became of the load meanwhile is told with each."""
    todo = [turn for turn in range(options.rounds) if not results.has(kind="update", round=turn)]
    if not todo:
        return
    with served.serve() as gateway, tempfile.TemporaryDirectory() as folder:
        cli = os.environ.get("FAAS_CLI", "")
        put = _with_faas_cli(gateway, cli, Path(folder)) if cli else _by_hand(gateway)
        put(_greeting(-1))
        gateway.answers(said=b"word-1 ")
        callers = Callers(gateway, clients=2)
        callers.start()
        answered = failed = 0
        for turn in todo:
            took, said = _change(gateway, put, turn)
            way = {"by": "faas-cli" if cli else "API", "seconds": took, "returned": said}
            if turn == todo[-1]:
                callers.stop()
            good, bad = callers.good, callers.cut + callers.bad
            load = {"answered": good - answered, "failed": bad - failed}
            answered, failed = good, bad
            results.add({"kind": "update-load", "round": turn, **load})
            results.add({"kind": "update", "round": turn, **way})


def judge(results: Results) -> None:
    """Print the bars: the slowest update, and the requests that failed during all of them."""
    slowest = results.best("seconds", max, kind="update")
    results.bar("s from up of a changed handler to its first answer", slowest, at_most=BAR)
    failed = sum(results.values("failed", kind="update-load"))
    results.bar("requests that failed during updates", failed, at_most=0)


def _change(gateway: Gateway, put: Callable[[str], None], turn: int) -> tuple[float, float]:
    """Return the seconds until the new version answers, and until the client returned."""
    began = time.perf_counter()
    put(_greeting(turn))
    returned = time.perf_counter() - began
    wanted = f"word{turn} ".encode()
    while wanted not in served.request().send(gateway.served.port)[1]:
        if time.perf_counter() - began > served.PATIENCE:
            raise SystemExit(f"version {turn} never answered")
        time.sleep(LOOK)
    return time.perf_counter() - began, returned


def _greeting(number: int) -> str:
    return served.HELLO.replace("Hello, ", f"word{number} ")


def _by_hand(gateway: Gateway) -> Callable[[str], None]:
    def put(app: str) -> None:
        gateway.build(app)
        gateway.deploy()

    return put


def _with_faas_cli(gateway: Gateway, cli: str, folder: Path) -> Callable[[str], None]:
    environment = {**os.environ, "OPENFAAS_CONFIG": str(folder / "config")}

    def run(*arguments: str, stdin: str = "") -> None:
        done = subprocess.run(
            [cli, *arguments],
            cwd=folder,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=served.PATIENCE,
        )
        if done.returncode:
            raise SystemExit(f"faas-cli {arguments[0]}: {done.stdout}{done.stderr}")

    shutil.copytree(Path(__file__).parents[2] / "template", folder / "template")
    (folder / "stack.yaml").write_text(STACK.format(url=gateway.url), encoding="utf-8")
    (folder / "hello").mkdir()
    run("login", "-g", gateway.url, "--password-stdin", stdin=gateway.password)
    builder = ["--remote-builder", gateway.url, "--payload-secret", str(gateway.state / "payload-secret")]

    def put(app: str) -> None:
        (folder / "hello" / "app.py").write_text(app, encoding="utf-8")
        run("up", "-f", "stack.yaml", *builder)

    return put
