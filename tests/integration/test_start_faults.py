"""An app that cannot start says why in one line and ends soon, with a code that says whose fault it is."""

import re
import socket
from textwrap import dedent

import pytest

HELLO = """
    from regrain import App
    app = App("hello")

    @app.stage()
    def greet(name: str) -> str:
        return "hello " + name

    @app.flow
    def hello(name: str = "you") -> str:
        return greet(name)
"""
MODEL = """
    from regrain import App, onnx
    app = App("model")

    class Net:
        def __init__(self) -> None:
            self.net = onnx("net.onnx")
        def __call__(self, data: bytes) -> bytes:
            return data

    net = app.stage()(Net)

    @app.flow
    def run(data: bytes) -> bytes:
        return net(data)
"""


@pytest.fixture
def module(tmp_path):
    def write(text, name="app.py"):
        path = tmp_path / name
        path.write_text(dedent(text))
        return path

    return write


PROGRESS = re.compile("regrain: (starting|still importing the module|no warm replica yet of: .*)")
"""What a start says that takes its time."""


def refusal(served):
    """The line in which it said why, and its exit code; a slow one may have said before what it waited for."""
    code = served.ended()
    said = [line for line in served.lines if not PROGRESS.fullmatch(line)]
    assert len(said) == 1, served.output
    return said[0], code


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("def broken(:", "app.py:1: SyntaxError", id="syntax error"),
        pytest.param("\nimport no_such_module_anywhere", "app.py:2: ModuleNotFoundError", id="import error"),
        pytest.param("raise ValueError('no key')", "app.py:1: ValueError: no key", id="raises"),
        pytest.param("import sys\nsys.exit('no licence')", "no licence", id="exits"),
        pytest.param("x = 1", "neither an App nor handle(event, context)", id="no app"),
        pytest.param(
            "from regrain import App\na = App('a')\nb = App('b')", "several apps (a, b)", id="two apps"
        ),
        pytest.param("from regrain import App\na = App('a')", "has no flow", id="no flow"),
        pytest.param("from regrain import App\na = App('A B')", "name of an app is", id="bad name"),
    ],
)
def test_a_module_that_is_no_app_is_told_with_its_line(attempt, module, text, said):
    line, code = refusal(attempt(module(text)))

    assert said in line
    assert line.startswith("regrain: ")
    assert code in (1, 2)


def test_a_file_that_is_not_there_is_named(attempt, tmp_path):
    line, code = refusal(attempt(tmp_path / "nothing.py"))

    assert "no such file" in line
    assert code != 0


@pytest.mark.parametrize(
    "content", [None, b"", b"this is no model" * 1000], ids=["missing", "empty", "corrupt"]
)
def test_a_model_file_that_cannot_be_loaded_is_named_with_its_stage(attempt, module, tmp_path, content):
    if content is not None:
        (tmp_path / "net.onnx").write_bytes(content)

    line, code = refusal(attempt(module(MODEL)))

    assert "stage 'net' could not be loaded" in line
    assert "net.onnx" in line
    assert code == 1


def test_a_model_that_breaks_while_it_is_made_is_shown_with_its_line(attempt, module):
    served = attempt(module(MODEL.replace('self.net = onnx("net.onnx")', 'raise KeyError("weights")')))

    assert served.ended() == 1
    assert served.output.count("Traceback") == 1
    assert "app.py" in served.output
    assert 'raise KeyError("weights")' in served.output
    assert served.lines[-1] == "regrain: stage 'net' could not be loaded: KeyError: 'weights'"


def test_a_replica_that_dies_again_and_again_while_it_loads_ends_the_start(attempt, module):
    served = attempt(module(MODEL.replace('self.net = onnx("net.onnx")', "import os; os._exit(9)")))

    assert served.ended() == 1
    assert "Traceback" not in served.output
    assert served.lines[-1] == "regrain: replicas of net died 4 times in a row before one was ready"


def test_a_start_that_takes_too_long_is_given_up(attempt, module, with_time):
    """It has time to import the module, and none is enough to load the stage."""
    text = MODEL.replace('self.net = onnx("net.onnx")', "import time; time.sleep(600)")

    def given_up(seconds):
        served = attempt(module(text), start_timeout=f"{seconds:g}s")

        line, code = refusal(served)

        assert f"not ready after {seconds:g} s: no warm replica yet of: net" in line
        assert "regrain: no warm replica yet of: net" in served.lines
        assert code == 1

    with_time(given_up, 5.0)


def test_an_import_that_takes_too_long_is_given_up(attempt, module):
    line, code = refusal(attempt(module("import time; time.sleep(600)"), start_timeout="1500ms"))

    assert "took more than 1.5 s" in line
    assert code == 1


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        pytest.param('{"name": 3}', "'name': expected a string", id="does not fit"),
        pytest.param('{"who": "x"}', "who", id="unknown parameter"),
        pytest.param('"missing.json"', "missing.json", id="missing file"),
        pytest.param('{"name": "FAIL"}', "stage 'greet' failed", id="fails"),
    ],
)
def test_an_app_whose_sample_fails_does_not_start(attempt, module, sample, said):
    text = HELLO.replace('App("hello")', f'App("hello", sample={sample})')
    text = text.replace('return "hello " + name', 'return "hello " + name if name != "FAIL" else 1 / 0')
    served = attempt(module(text))

    assert served.ended() in (1, 2)
    assert said in served.lines[-1]
    assert served.lines[-1].startswith("regrain: ")


@pytest.mark.parametrize("which", ["port", "metrics_port", "admin_port"])
def test_a_port_that_is_taken_is_told_with_the_setting_to_change(attempt, module, which):
    flag = f"--{which.replace('_', '-')}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        line, code = refusal(attempt(module(HELLO), flag, str(port)))

    assert f"port {port} on 127.0.0.1 is taken" in line
    assert flag in line
    assert code == 2


@pytest.mark.parametrize("way", ["flag", "variable"])
@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [("max_body", "many", '"512Ki"'), ("log_level", "loud", "debug, info, warning, error")],
)
def test_a_bad_setting_is_told_with_its_names_its_value_and_what_is_allowed(  # noqa: PLR0917 - pytest gives them by name
    attempt, module, way, setting, value, allowed
):
    flag = f"--{setting.replace('_', '-')}"
    path = module(HELLO)
    served = attempt(path, flag, value) if way == "flag" else attempt(path, **{setting: value})

    line, code = refusal(served)

    assert code == 2
    assert all(part in line for part in (f"REGRAIN_{setting.upper()}", flag, repr(value), allowed))


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        pytest.param("grain", "finest", "finest", id="no grain"),
        pytest.param("grain", "greet+sing", "sing", id="unknown stage"),
        pytest.param("replicas", "0", "replicas", id="no replicas"),
        pytest.param("replicas", "sing=2", "sing", id="unknown group"),
    ],
)
def test_a_plan_that_the_app_cannot_have_is_refused(attempt, module, setting, value, said):
    line, code = refusal(attempt(module(HELLO), f"--{setting}", value))

    assert said in line
    assert code == 2


def test_an_unknown_flag_is_told(attempt, module):
    line, code = refusal(attempt(module(HELLO), "--grian", "fine"))

    assert "--grian" in line
    assert code == 2


def test_a_module_that_starts_a_thread_at_import_works_with_a_warning(serve, module, problem, until):
    text = dedent(HELLO).replace('"hello " + name', '"hello " + name if name != "EXIT" else os._exit(3)')
    start = "import os, threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    served = serve(module(start + text))
    (before,) = served.replicas()

    served.said("warning .*replicas start from fresh interpreters: importing it started 1 thread")
    problem(served.call(name="EXIT"), 502, "'greet'", stage="greet")
    until(lambda: served.replicas() not in ([], [before]), "its replica is replaced")
    assert served.call(name="Ada").text == "hello Ada"
