import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from regrain import manifest

pytestmark = pytest.mark.process
APPS = Path(__file__).parents[1] / "apps"


def runtime(*arguments: object, descriptors: Sequence[int] = ()) -> subprocess.CompletedProcess[bytes]:
    passed = [text for fd in descriptors for text in ("--fd", str(fd))]
    return subprocess.run(
        [sys.executable, "-m", "regrain_runtime", *map(str, arguments), *passed],
        pass_fds=descriptors,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_describe_prints_the_manifest():
    ran = runtime("describe", APPS / "maps.py")

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert manifest.loads(ran.stdout).graph.stages == ("widen", "square", "shift", "block", "mean", "join")


PRINTS = [
    pytest.param("print('hello')", id="by itself"),
    pytest.param("import os; os.system('echo hello')", id="by a program"),
    pytest.param("import atexit; atexit.register(print, 'hello')", id="at its exit"),
]


@pytest.mark.parametrize("prints", PRINTS)
def test_what_a_module_prints_does_not_get_into_the_manifest(prints, tmp_path):
    path = tmp_path / "chatty.py"
    path.write_text(f"{prints}\n" + (APPS / "waits.py").read_text())

    ran = runtime("describe", path)

    assert manifest.loads(ran.stdout).app == "waits"
    assert b"hello" in ran.stderr


def test_describe_exits_2_with_one_line_when_the_module_fails(tmp_path):
    path = tmp_path / "failing.py"
    path.write_text("1 / 0\n")

    ran = runtime("describe", path)

    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.decode() == f"regrain: {path}:1: ZeroDivisionError: division by zero\n"


@pytest.mark.parametrize("does", ["sys.stdout.close()", "sys.stdout = None"])
def test_a_module_that_takes_stdout_away_is_told_of_as_any_other(does, tmp_path):
    path = tmp_path / "failing.py"
    path.write_text(f"import sys; {does}\n1 / 0\n")

    ran = runtime("describe", path)

    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.decode() == f"regrain: {path}:2: ZeroDivisionError: division by zero\n"


def test_the_reason_comes_behind_what_the_module_has_printed(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    path = tmp_path / "failing.py"
    path.write_text("print('regrain: lies')\n1 / 0\n")

    ran = runtime("describe", path)

    assert ran.stderr.decode() == f"regrain: lies\nregrain: {path}:2: ZeroDivisionError: division by zero\n"


def test_gpu_prints_the_gpus_here_and_what_can_be_done_with_them():
    ran = runtime("gpu")

    found = json.loads(ran.stdout)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert [row["capability"]["name"] for row in found["backends"]] == [
        "lease",
        "green",
        "mps",
        "mig",
        "emulated",
    ]
    works = {row["capability"]["name"]: not row["obstacle"] for row in found["backends"]}
    assert works["emulated"]
    assert works["lease"] == bool(found["devices"])


@pytest.mark.parametrize("arguments", [(), ("describe",), ("dance", "app.py")])
def test_a_wrong_command_line_exits_2(arguments):
    assert runtime(*arguments).returncode == 2


def test_a_replica_whose_module_fails_exits_2_with_one_line(tmp_path):
    path = tmp_path / "failing.py"
    path.write_text("1 / 0\n")

    leash, held = os.pipe()

    ran = runtime("replica", path, descriptors=[leash])

    os.close(leash)
    os.close(held)
    assert ran.returncode == 2
    assert ran.stderr.count(b"\n") == 1


def test_the_log_level_is_a_setting():
    environment = {**os.environ, "REGRAIN_LOG_LEVEL": "debug"}
    script = (
        "import logging, sys; from regrain_runtime.__main__ import main; main(['describe', 'none.py']); "
        "print(logging.root.level, file=sys.stderr)"
    )

    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)

    assert ran.stderr.split()[-1] == b"10"
