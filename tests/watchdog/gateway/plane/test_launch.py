"""How functions' processes are started."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from regrain_watchdog.gateway import private
from regrain_watchdog.gateway.plane.homes import Homes
from regrain_watchdog.gateway.plane.launch import HELD, Launch, Launcher
from regrain_watchdog.gateway.sandbox import FIRST_USER, Means
from regrain_watchdog.gateway.settings import Settings
from regrain_watchdog.gateway.spec import Deployment, Function, Image, Resources


def function(name: str = "a", **fields: object) -> Function:
    deployment = Deployment(service=name, image="i", namespace="dev", **fields)  # type: ignore[arg-type]
    return Function(
        deployment=deployment, image=Image(name="i", kind="app", folder="/s/images/1/function"), created=0
    )


def launcher(state: Path, means: Means) -> Launcher:
    return Launcher(Settings(state=str(state)), means, Homes(state / "homes"))


def printed(launch: Launch, *command: str) -> str:
    """Run a command as a function's process, and return what it writes."""
    done = subprocess.run(
        [*launch.prefix, *command],
        env=dict(launch.environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """The folder of an image."""
    folder = tmp_path / "state" / "images" / "1"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def start(tmp_path: Path, built: Path) -> Callable[..., Launch]:
    """Return how a function is started, with no more means than every machine has."""

    def launch(**variables: str) -> Launch:
        image = Image(name="i", kind="app", folder=str(built))
        deployment = Deployment(service="a", image="i", namespace="dev", env_vars=variables)
        wanted = Function(deployment=deployment, image=image, created=0)
        return launcher(tmp_path / "state", Means(tools=False)).launch(wanted)

    return launch


def test_a_function_gets_its_variables_its_name_and_nothing_of_the_gateway(
    start: Callable[..., Launch], built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", "hush")
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:hush@index.example/simple")
    odd = "two\nlines, a 'quote', \"another\", $HOME and `id`"
    launch = start(A="b", ODD=odd, KEY="/var/openfaas/secrets/key", HOME="/root", OMP_NUM_THREADS="3")

    seen = dict(one.split("=", 1) for one in printed(launch, "env", "--null").split("\0") if "=" in one)

    assert (seen["A"], seen["ODD"], seen["OPENFAAS_NAME"], seen["OMP_NUM_THREADS"]) == ("b", odd, "a", "3")
    assert seen["KEY"] == f"{launch.secrets}/key"
    assert seen["HOME"] == launch.environment["HOME"] != "/root"
    assert not [name for name, value in seen.items() if "hush" in value]
    assert not [name for name in seen if HELD in name]
    assert printed(launch, "pwd").strip() == str(built)
    assert launch.literal("cat /var/openfaas/secrets/key") == f"cat {launch.secrets}/key"


def test_what_confines_a_function_does_not_look_where_the_function_says(
    start: Callable[..., Launch], built: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    for tool in ("sh", "install", "setpriv", "prlimit", "unshare", "mount", "mkdir"):
        (built / tool).write_text(f"#!/bin/sh\necho {tool} >> {mark}\n")
        (built / tool).chmod(0o755)
    (built / "own").write_text("#!/bin/sh\necho here\n")
    (built / "own").chmod(0o755)
    path = f"{built}:{os.environ['PATH']}"

    said = printed(start(PATH=path, LD_LIBRARY_PATH=str(built)), "own")

    assert said == "here\n"
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["a b", "a.b", "BASH_FUNC_mkdir%%", "", "1A", "A;id", "PPID", "OPTIND", f"{HELD}0"]
)
def test_names_that_a_shell_has_no_variable_for_are_left_out(start: Callable[..., Launch], name: str) -> None:
    seen = printed(start(**{name: "left out", "A": "b"}), "env", "--null").split("\0")

    assert "A=b" in seen
    assert not [one for one in seen if "left out" in one]


def test_functions_have_users_of_their_own_and_keep_them(tmp_path: Path) -> None:
    starter = launcher(tmp_path, Means(users=True))

    def users(name: str) -> str:
        script = starter.launch(function(name)).prefix[2]
        return script.partition("--reuid ")[2].split()[0]

    first, second = users("a"), users("b")

    assert first != second
    assert users("a") == first
    assert int(first) >= FIRST_USER


def test_a_function_that_shares_gpus_runs_as_the_gateways_user(tmp_path: Path) -> None:
    starter = launcher(tmp_path, Means(users=True, mounts=True))

    assert "--reuid" in " ".join(starter.launch(function()).prefix)
    assert "--reuid" not in " ".join(starter.launch(function(), shares_gpus=True).prefix)


def test_a_limit_of_memory_is_that_of_each_process(tmp_path: Path) -> None:
    starter = launcher(tmp_path, Means())

    assert "--data=134217728" in " ".join(starter.launch(function(limits=Resources(memory="128Mi"))).prefix)


def test_the_secrets_of_a_version_end_with_it_and_those_of_another_stay(tmp_path: Path) -> None:
    for name in ("old", "new"):
        private.write(tmp_path / "secrets" / "dev" / name, name.encode())
    starter = launcher(tmp_path, Means(tools=False))
    first, second = (
        starter.launch(replace(function(secrets=[name]), image=Image(name="i", kind="app")))
        for name in ("old", "new")
    )

    assert printed(first, "cat", f"{first.secrets}/old") == "old"
    assert printed(second, "cat", f"{second.secrets}/new") == "new"
    asyncio.run(first.end())

    assert not Path(first.secrets).exists()
    assert [path.name for path in Path(second.secrets).iterdir()] == ["new"]
