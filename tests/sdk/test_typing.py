"""What mypy and pyright, both strict, say of an app: the documented forms, their types, and mistakes."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).with_name("typed_app.py")

SEEN = {
    "pixels": "Image",
    "page": "Image",
    "boxes": "list[Box]",
    "crops": "list[Crop]",
    "lines": "list[Line]",
    "page.width": "int",
    "recognise(crops[0])": "Line",
    "detect(pixels)": "list[Box]",
    "score(lines[0], page)": "float | Failure",
    "orient.map(crops)": "list[Crop]",
    "score.map(lines, page=page)": "list[float | Failure]",
    "spell.map(lines, [0.5])": "list[Line | Failure]",
}
MISTAKES = [
    "decode(3)",
    "decode()",
    "decode(b'', limit=3)",
    "detect(b'')",
    "crop(pixels, crops)",
    "recognise(pixels)",
    "recognise.map([pixels])",
    "orient.map(pixels)",
    "orient.map()",
    "spell.map(lines, ['a'])",
    "assemble(orient.map(crops), width=1)",
    "page.depth",
    "read(3)",
    "app.stage(cpu='1')",
    "app.stage(max_size=3)",
    "app.batched(max_size=1.5)",
    "app.stage(errors='ignore')",
    "app.batched()(decode)",
    "SLO(0.8)",
    "GPU(share='all')",
    "App('ocr', slo=0.8)",
]


def mypy(file):
    """Return mypy's messages by line."""
    options = [
        "--strict",
        "--no-pretty",
        "--no-error-summary",
        "--show-absolute-path",
        "--cache-dir",
        str(file.parent / "cache"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", *options, str(file)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    matches = re.finditer(r"^(.+?):(\d+): (error|note): (.*)$", done.stdout, re.MULTILINE)
    return [(match[1], int(match[2]), match[3] == "error", match[4]) for match in matches]


def pyright(file):
    """Return pyright's messages by line."""
    settings = file.with_name("pyrightconfig.json")
    settings.write_text(
        json.dumps({"include": [file.name], "typeCheckingMode": "strict", "reportUnusedExpression": False})
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pyright",
            "--outputjson",
            "--pythonpath",
            sys.executable,
            "-p",
            str(settings),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [
        (entry["file"], entry["range"]["start"]["line"] + 1, entry["severity"] == "error", entry["message"])
        for entry in json.loads(done.stdout)["generalDiagnostics"]
    ]


@pytest.fixture(scope="module", params=[mypy, pyright], ids=["mypy", "pyright"])
def said(request, tmp_path_factory):
    """What a checker says of the app, of reveal_type and of mistakes in its flow, by line of source."""
    text = APP.read_text()
    end = "    return assemble(lines, width=page.width)\n"
    assert text.count(end) == 1
    added = [f"reveal_type({expression})" for expression in SEEN] + MISTAKES
    file = tmp_path_factory.mktemp("typing") / "typed_app.py"
    file.write_text(text.replace(end, "".join(f"    {line}\n" for line in added) + end))
    lines = file.read_text().splitlines()
    messages: dict[str, list[tuple[bool, str]]] = {}
    for name, line, is_error, message in request.param(file):
        assert Path(name) == file, (name, line, message)
        messages.setdefault(lines[line - 1].strip(), []).append((is_error, message))
    return messages


def plain(kind: str) -> str:
    """A type as a checker writes it, without the modules."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", kind)


@pytest.mark.process
@pytest.mark.parametrize("expression", SEEN)
def test_a_type_comes_out_of_the_flow_as_the_stages_say(said, expression):
    messages = said[f"reveal_type({expression})"]

    assert not any(is_error for is_error, _ in messages)
    (message,) = [message for _, message in messages]
    assert plain(re.findall(r'"([^"]*)"', message)[-1]) == SEEN[expression]


@pytest.mark.process
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_on_its_line(said, mistake):
    assert any(is_error for is_error, _ in said.get(mistake, []))


@pytest.mark.process
def test_nothing_else_of_the_app_is_reported(said):
    expected = {f"reveal_type({expression})" for expression in SEEN} | set(MISTAKES)

    assert set(said) <= expected, {line: said[line] for line in set(said) - expected}


def test_the_app_that_checkers_read_is_one_that_runs():
    app = runpy.run_path(str(APP))["app"]

    assert app.graph.stages == ("decode", "detect", "split", "crop", "orient", "recognise", "assemble")
