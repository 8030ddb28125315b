"""Run the command in this process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from regrain_watchdog.cli.main import main


@dataclass(frozen=True)
class Outcome:
    code: object
    out: str
    err: str


Regrain = Callable[..., Outcome]


@pytest.fixture
def regrain(capsys: pytest.CaptureFixture[str], tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> Regrain:
    """Run `regrain` with arguments; run files are the test's own, and it does not say that it takes long."""
    monkeypatch.setattr("regrain_watchdog.cli.progress.PATIENCE", 3600.0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    monkeypatch.delenv("REGRAIN_URL", raising=False)

    def run(*args: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(args)
        captured = capsys.readouterr()
        return Outcome(ended.value.code, captured.out, captured.err)

    return run


INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # children of background jobs ignore it
from regrain_watchdog.cli.main import main
main()
"""


@pytest.fixture
def interruptible() -> list[str]:
    """How to start the command so that SIGINT reaches it wherever the tests run."""
    return [sys.executable, "-c", INTERRUPTIBLE]
