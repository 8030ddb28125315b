import subprocess
import sys
from importlib import metadata

import click
import pytest
from click.shell_completion import ShellComplete

from regrain_watchdog.cli.main import VERBS, verbs


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_s_help_begins_with_what_the_list_of_verbs_says_and_has_examples(regrain, verb):
    command = verbs.get_command(click.Context(verbs), verb)

    outcome = regrain(verb, "--help")

    assert command is not None
    assert (command.help or "").startswith(VERBS[verb].rstrip("."))
    assert "Examples:" in outcome.out
    assert outcome.code == 0


def test_without_a_verb_the_help_is_shown(regrain):
    outcome = regrain()

    assert outcome.code == 0
    assert "Examples:" in outcome.out
    assert all(f"  {verb} " in outcome.out for verb in VERBS)


@pytest.mark.parametrize("verb", ["grain", "gpu", "version", "profile"])
def test_help_may_be_asked_for_by_one_letter(regrain, verb):
    assert regrain(verb, "-h") == regrain(verb, "--help")


@pytest.mark.parametrize("verb", ["grain", "gpu"])
def test_a_verb_that_lacks_one_of_its_own_shows_its_help_line_by_line(regrain, verb):
    outcome = regrain(verb)

    assert outcome.code == 2
    assert outcome.err == regrain(verb, "--help").out


def test_a_shell_that_completes_behind_a_misspelt_verb_gets_the_verbs():
    found = ShellComplete(verbs, {}, "regrain", "_REGRAIN_COMPLETE").get_completions(["depoly"], "de")

    assert [item.value for item in found] == [verb for verb in VERBS if verb.startswith("de")]


def test_the_version_is_told_as_by_other_programs(regrain):
    outcome = regrain("--version")

    assert outcome.code == 0
    assert outcome.out == f"regrain {metadata.version('regrain')}\n"


@pytest.mark.process
def test_help_imports_neither_the_sdk_nor_anything_heavy():
    script = (
        "import sys; from regrain_watchdog.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'regrain', 'numpy', 'rich', 'requests', 'httptools'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        pytest.param(("nope",), 2, "No such command 'nope'", id="unknown verb"),
        pytest.param(("runn",), 2, "(Did you mean 'run'?)", id="misspelt verb"),
        pytest.param(("new",), 2, "Missing argument 'NAME'", id="missing argument"),
        pytest.param(("graph", "app.py", "--format", "gif"), 2, "'gif' is not one of", id="bad choice"),
        pytest.param(("graph", "app.py", "-o", "a.gif"), 2, "--format must be one of", id="bad ending"),
        pytest.param(
            ("run", "--port", "99999"), 2, "allowed are 0 (any free port) to 65535", id="bad setting"
        ),
        pytest.param(("status", "--url", "8082"), 2, "--url must start with http://", id="bad address"),
        pytest.param(
            ("status", "--url", "http://node..local:8082"),
            2,
            "http://node..local:8082' is no URL",
            id="bad host",
        ),
        pytest.param(
            ("invoke", "x", "--url", f"http://{'a' * 64}.org:8082"), 2, "is no URL", id="host without an end"
        ),
        pytest.param(("status", "--url", "http://127.0.0.1:9"), 1, "connection refused", id="nobody answers"),
        pytest.param(("status",), 1, "no running app found", id="nothing runs"),
        pytest.param(("invoke", "--sample", "text"), 2, "say what to send", id="two bodies"),
        pytest.param(("invoke",), 2, "say what to send", id="no body"),
        pytest.param(
            ("invoke", "--sample", "--timeout", "nan"), 2, "--timeout must be seconds", id="no time"
        ),
        pytest.param(("invoke", "--sample", "--timeout", "0s"), 2, "more than 0 seconds", id="no time left"),
    ],
)
def test_a_failure_is_one_line_on_stderr(regrain, args, code, said):
    outcome = regrain(*args)

    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err.startswith("regrain: ")
    assert outcome.err.count("\n") == 1
    assert said in outcome.err


@pytest.mark.process
@pytest.mark.parametrize(("flags", "noted"), [((), True), (("--adapt",), False)])
def test_a_setting_of_a_controller_that_does_not_run_is_noted(regrain, tmp_path, flags, noted):
    outcome = regrain("run", str(tmp_path / "none.py"), "--port", "0", "--decision-log", "log", *flags)

    assert ("regrain: --decision-log is for --adapt, which is off\n" in outcome.err) == noted


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--resident", "all"),
        ("--gpus", "lease"),
        ("--scenario", "scenario.toml"),
        ("--gpu-folder", "gpus"),
        ("--gpu-hang-timeout", "9s"),
        ("--predictor", "learned"),
        ("--adapt-period", "9s"),
        ("--cores", "1"),
        ("--hang-timeout", "9s"),
        ("--replica-memory", "1Gi"),
        ("--memory", "1Gi"),
        ("--grpc-port", "0"),
    ],
)
def test_what_is_for_apps_is_refused_before_an_upstream(regrain, flag, value):
    outcome = regrain("run", "wsgi:web:app", flag, value)

    said = f"{flag} is for apps; an upstream has no stages, and speaks HTTP alone"
    assert (outcome.code, outcome.err) == (2, f"regrain: {said}\n")


@pytest.mark.process
@pytest.mark.parametrize("is_pod", [False, True])
def test_cores_are_a_setting_of_the_controller_of_all_pods_too(regrain, tmp_path, is_pod):
    key = tmp_path / "key"
    key.write_text("a secret of the pods, long enough")
    key.chmod(0o600)
    flags = ("--remote-key-file", str(key)) if is_pod else ()

    outcome = regrain("run", str(tmp_path / "none.py"), "--port", "0", "--cores", "1", *flags)

    assert ("regrain: --cores is for --adapt, which is off\n" in outcome.err) != is_pod
