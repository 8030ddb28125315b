"""Drive a server with wrk: closed loop, one thread, keep-alive connections.

wrk is written in C and costs so little that a server in Python is the limit; its figures come as JSON from a
small script that it runs at its end.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Request

SCRIPT = """
wrk.method = "POST"
local file = io.open({body}, "rb")
wrk.body = file:read("*a")
file:close()
{headers}
done = function(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
               + summary.errors.status + summary.errors.timeout
  io.write(string.format(
    '\\nRESULT {{"requests": %d, "seconds": %f, "p50": %f, "p95": %f, "p99": %f, "failed": %d}}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(95) / 1e6,
    latency:percentile(99) / 1e6, failed))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a load gave. Times in seconds; `failed` counts errors and statuses other than 2xx."""

    requests: int
    seconds: float
    p50: float
    p95: float
    p99: float
    failed: int

    @property
    def rate(self) -> float:
        """Good requests per second."""
        return (self.requests - self.failed) / self.seconds


def require_wrk() -> None:
    """Exit with a sentence where wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit("this benchmark needs the load generator wrk (apt-get install wrk)")


def drive(port: int, request: Request, *, connections: int, seconds: float, core: int | None = None) -> Load:
    """Send the request over and over for some seconds; `core` holds the load generator on one core."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "post.lua"
        body.write_bytes(request.body)
        headers = "\n".join(
            f"wrk.headers[{_lua(key)}] = {_lua(value)}" for key, value in request.headers.items()
        )
        script.write_text(SCRIPT.format(body=_lua(str(body)), headers=headers), encoding="utf-8")
        url = f"http://127.0.0.1:{port}{request.path}"
        wrk = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
        done = subprocess.run([*pinned, *wrk], capture_output=True, text=True, check=True)
    return Load(**json.loads(done.stdout.partition("RESULT ")[2]))


def _lua(text: str) -> str:
    return json.dumps(text)
