import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_run_that_lacks_its_load_generator_measures_nothing_and_keeps_what_was_recorded(tmp_path):
    out = tmp_path / "gateway.jsonl"
    out.write_text('{"kind": "done", "part": "update"}\n', encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.gateway", "--out", str(out)]

    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
    )

    assert done.returncode == 1
    assert "needs the load generator wrk" in done.stderr
    assert out.read_text(encoding="utf-8") == '{"kind": "done", "part": "update"}\n'
