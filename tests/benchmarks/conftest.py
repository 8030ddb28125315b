"""What tests of benchmarks share: runs that were recorded, and that are gone on with."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture
def resume(tmp_path, monkeypatch):
    """Have a benchmark go on with lines, by its own command line; return the lines that it added.

    It is asked for as many rounds as they were recorded with, unless flags say otherwise.
    """

    def run(main, lines, *flags):
        path = tmp_path / "recorded.jsonl"
        rounds = ["--rounds", str(lines[0].get("rounds", 1))]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["benchmark", "--resume", "--out", str(path), *rounds, *flags])
        main()
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert found[: len(lines)] == lines
        return found[len(lines) :]

    return run


@pytest.fixture
def recorded():
    """Return what gives the lines that the project has of a benchmark, but for its bars."""

    def lines(name):
        text = (ROOT / "benchmarks" / "results" / f"{name}.jsonl").read_text(encoding="utf-8")
        return [line for line in map(json.loads, text.splitlines()) if line["kind"] != "bar"]

    return lines


@pytest.fixture
def bars():
    """Return what gives the values of the bars among lines, by name."""
    return lambda lines: {line["name"]: line["value"] for line in lines if line["kind"] == "bar"}
