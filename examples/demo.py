"""Serve the OCR example at three grains and read the same page with each: `make demo`.

Each time the very same app file is served; one word of configuration says which stages share a process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regrain import Client
from regrain.grain import parse
from regrain.manifest import Manifest, loads

APP = Path(__file__).parent / "ocr" / "app.py"
GRAINS = ("coarse", "decode+detect+crop | orient+recognise | assemble", "fine")
READY_WITHIN = 60.0
ROUNDS = 3


def main() -> int:
    """Serve, read and compare; the exit code says whether every grain read the same."""
    described = subprocess.run(
        [sys.executable, "-m", "regrain_runtime", "describe", str(APP)], check=True, stdout=subprocess.PIPE
    )
    manifest = loads(described.stdout)
    texts = [read_at(grain, manifest) for grain in GRAINS]
    print("\nWhat the page says:\n")
    print("\n".join(f"    {line}" for line in texts[0].splitlines()))
    if len(set(texts)) > 1:
        print("\nThe grains disagree.", file=sys.stderr)
        return 1
    print(f"\nAll {len(GRAINS)} grains read the same. Next: docs/tutorial.md, or serve it yourself with")
    print("    .venv/bin/regrain run examples/ocr --grain fine")
    return 0


def read_at(grain: str, manifest: Manifest) -> str:
    """Serve the app at a grain, read its sample a few times, print what it took, and return the text."""
    assert manifest.sample is not None
    print(f"\n{grain}: {len(parse(grain, manifest.graph))} function(s)", flush=True)
    with serving(grain) as url:
        client = Client(url, timeout=READY_WITHIN)
        for _ in range(ROUNDS):
            began = time.monotonic()
            page = client.invoke(manifest.sample.body)
            assert isinstance(page, dict)
            text = str(page["text"])
            lines = len(text.splitlines())
            print(f"  read {lines} lines in {time.monotonic() - began:.3f} s", flush=True)
    return text


@contextmanager
def serving(grain: str) -> Iterator[str]:
    """Run the app in a process of its own; yield its URL once it is ready, and end it afterwards."""
    command = [sys.executable, "-m", "regrain_watchdog.cli", "run", str(APP), "--grain", grain]
    environment = {
        **os.environ,
        "REGRAIN_PORT": "0",
        "REGRAIN_METRICS_PORT": "0",
        "REGRAIN_LOG_LEVEL": "error",
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield ready_url(process)
        finally:
            process.terminate()


def ready_url(process: subprocess.Popen[str]) -> str:
    """Return the URL in the line that says that the app is ready."""
    assert process.stdout is not None
    for line in process.stdout:
        print(f"  {line.strip()}", flush=True)
        found = re.search(r"ready in .* on (http://[^,\s]+)", line)
        if found:
            return found[1]
    raise SystemExit(f"the app did not start; exit code {process.wait()}")


if __name__ == "__main__":
    sys.exit(main())
