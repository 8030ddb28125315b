"""`regrain profile`: what it shows, what it draws, what it refuses."""

import signal
import subprocess
from pathlib import Path

import pytest

from regrain_watchdog.policy.profile import Hop, Point, Profile, StageProfile, dumps, loads

HELLO = Path(__file__).parents[3] / "examples" / "hello" / "app.py"
READ = StageProfile(
    digest="b",
    on_gpu=True,
    points=tuple(
        Point(batch, 1e5, share, 0.01 * batch / share, 0.1, 20)
        for share in (0.25, 0.5, 1.0)
        for batch in (1, 8)
    ),
    load=0.8,
    weights=98 << 20,
)
PROFILE = Profile(
    app="ocr",
    device="v100",
    stages={"decode": StageProfile(digest="a", points=(Point(1, 1e5, 1.0, 0.004, 0.1, 20),)), "read": READ},
    hop=Hop(0.0003, 1e-9),
    fused=0.0002,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "profile.json"
    path.write_bytes(dumps(PROFILE))
    return path


def test_show_prints_a_line_for_each_stage(regrain, path):
    outcome = regrain("profile", "show", str(path))

    assert outcome.code == 0
    head, decode, read, hop, fused = outcome.out.splitlines()
    assert head.split() == [
        "stage",
        "on",
        "one",
        "largest",
        "batch",
        "each",
        "load",
        "model",
        "result",
        "points",
        "fit",
    ]
    assert decode.split()[:5] == ["decode", "1", "core", "4", "ms"]
    assert "25% to 100% of a v100" in read
    assert "8: 80 ms" in read
    assert "98 MiB" in read
    assert hop == "a hop takes 300 us, and 1 ms for each MiB"
    assert fused == "the flow in one group takes 200 us more than its stages one by one"


@pytest.mark.parametrize(("name", "magic"), [("p.svg", b"<svg"), ("p.png", b"\x89PNG")])
def test_show_draws_a_panel_for_each_stage(regrain, path, tmp_path, name, magic):
    outcome = regrain("profile", "show", str(path), "-o", str(tmp_path / name))

    assert outcome.code == 0
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_show_refuses_other_pictures(regrain, path, tmp_path):
    outcome = regrain("profile", "show", str(path), "-o", str(tmp_path / "p.gif"))

    assert (outcome.code, outcome.err) == (2, "regrain: a profile is drawn as .svg or .png; was '.gif'\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "no profile that can be read: No such file or directory", id="missing"),
        pytest.param(b"{}", "this is no profile: Object missing required field `app`", id="not one"),
        pytest.param(b"\xff", "this is no profile: ", id="binary"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_by_name(regrain, tmp_path, content, said):
    if content is not None:
        (tmp_path / "profile.json").write_bytes(content)

    outcome = regrain("profile", "show", str(tmp_path / "profile.json"))

    assert outcome.code == 1
    assert outcome.err.startswith(f"regrain: {tmp_path / 'profile.json'}: ")
    assert said in outcome.err


@pytest.mark.process
def test_a_profile_of_other_stages_says_which_are_missing(regrain, path):
    outcome = regrain("profile", "show", str(path), "--app", str(HELLO))

    assert outcome.code == 1
    assert "the profile of ocr lacks greet; run `regrain profile` again" in outcome.err


@pytest.mark.process
def test_a_profile_of_other_code_says_of_which_stage(regrain, tmp_path):
    code = HELLO.read_text()
    (tmp_path / "app.py").write_text(code)
    flags = ("--out", str(tmp_path / "p.json"), "--time", "0s", "--cores", "1")
    assert regrain("profile", str(tmp_path / "app.py"), *flags).code == 0
    (tmp_path / "app.py").write_text(code.replace("Hello", "Good day"))

    outcome = regrain("profile", "show", str(tmp_path / "p.json"), "--app", str(tmp_path / "app.py"))

    assert outcome.code == 1
    assert "the profile of hello knows other code of greet" in outcome.err


@pytest.mark.process
def test_show_looks_beside_the_app_where_no_path_is_given(regrain, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(HELLO.read_text())
    assert regrain("profile", str(app), "--time", "0s", "--cores", "1").code == 0

    outcome = regrain("profile", "show", "--app", str(app))

    assert outcome.code == 0
    assert "greet" in outcome.out


@pytest.mark.process
def test_show_says_that_there_is_no_such_app_rather_than_no_profile_of_it(regrain, tmp_path):
    outcome = regrain("profile", "show", "--app", str(tmp_path / "nosuch.py"))

    assert outcome.code == 1
    assert "nosuch.py" in outcome.err
    assert "no profile" not in outcome.err


@pytest.mark.process
def test_an_app_is_measured_shown_and_kept(regrain, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(HELLO.read_text())
    out = tmp_path / "profile.json"
    inputs = [tmp_path / f"{name}.json" for name in ("ann", "bob")]
    for file in inputs:
        file.write_text(f'{{"name": "{file.stem}"}}')
    given = [word for file in inputs for word in ("--input", str(file))]

    outcome = regrain("profile", str(app), "--time", "60s", "--cores", "1,2", *given)

    assert outcome.code == 0
    assert outcome.out.splitlines()[1].startswith("greet  1 to 2 cores")
    assert "regrain: loading greet" in outcome.err
    assert "regrain: 1 of 3 inputs were left out: each has as many bytes as one before it\n" in outcome.err
    assert outcome.err.endswith(f"wrote {out}\n")
    assert {point.share for point in loads(out.read_bytes()).stages["greet"].points} == {1.0, 2.0}


SLOW = """
import time

from regrain import App

app = App("slow", sample={"text": "a"})

calls = []


@app.batched(max_size=64)
def first(text: list[str]) -> list[str]:
    time.sleep(0.02)
    return text


@app.stage()
def second(text: str) -> str:
    calls.append(text)
    time.sleep(30.0 if len(calls) > 3 else 0.02)
    return text


@app.flow
def flow(text: str) -> str:
    return second(first(text))
"""


@pytest.mark.process
@pytest.mark.parametrize("when", ["1", "4"], ids=["in the walk", "as it is timed"])
def test_a_stage_that_ends_the_process_is_named(regrain, tmp_path, when):
    ends = SLOW.replace("time.sleep(30.0 if len(calls) > 3 else 0.02)", f"len(calls) < {when} or os._exit(3)")
    (tmp_path / "ends.py").write_text(ends.replace("import time", "import os, time"))

    outcome = regrain("profile", str(tmp_path / "ends.py"), "--out", str(tmp_path / "p.json"), "--time", "1s")

    assert outcome.code == 1
    assert (
        f"stage second: the process that measures {tmp_path / 'ends.py'} ended: it said nothing"
        in outcome.err
    )
    assert "Traceback" not in outcome.err


@pytest.mark.process
def test_an_interrupt_keeps_what_was_measured(interruptible, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    out = tmp_path / "profile.json"
    command = ["profile", str(tmp_path / "slow.py"), "--out", str(out), "--time", "60s", "--error", "0.0001"]
    with subprocess.Popen([*interruptible, *command], stderr=subprocess.PIPE, text=True) as process:
        said = iter(process.stderr)
        begun = next(line for line in said if line == "regrain: second\n")
        process.send_signal(signal.SIGINT)
        last = list(said)[-1]

    assert begun
    assert process.returncode == 130
    assert last == f"regrain: interrupted; what was measured is in {out}\n"
    assert loads(out.read_bytes()).stages["first"].points


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--time", "soon"), "--time"),
        (("--error", "2"), "--error must be in (0, 1), was 2"),
        (
            ("--shares", "0.5,1.5"),
            "--shares must be numbers above 0 and up to 1, separated by commas; was '0.5,1.5'",
        ),
        (("--batches", "1,2.5"), "--batches must be whole numbers above 0 and up to 1e+06"),
        (("--cores", "all"), "--cores must be numbers above 0"),
        (
            ("--shares", "0.5"),
            "--shares is of a GPU, and no stage of 'hello' is measured on one: leave it out",
        ),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_anything_is_measured(regrain, flags, said):
    outcome = regrain("profile", str(HELLO), *flags)

    assert outcome.code == 2
    assert said in outcome.err


def test_help_shows_both_verbs(regrain):
    outcome = regrain("profile", "--help")

    assert "take" in outcome.out
    assert "show" in outcome.out
