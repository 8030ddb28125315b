"""How functions' processes are started."""

from pathlib import Path

from regrain_watchdog.gateway.plane.launch import ENTER, Launcher
from regrain_watchdog.gateway.sandbox import FIRST_USER, Means
from regrain_watchdog.gateway.settings import Settings
from regrain_watchdog.gateway.spec import Deployment, Function, Image, Resources


def function(name: str = "a", **fields: object) -> Function:
    deployment = Deployment(service=name, image="i", namespace="dev", **fields)  # type: ignore[arg-type]
    return Function(
        deployment=deployment, image=Image(name="i", kind="app", folder="/s/images/1/function"), created=0
    )


def test_a_function_gets_its_variables_its_name_and_nothing_of_the_gateway(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", "hush")
    variables = {"A": "b", "KEY": "/var/openfaas/secrets/key"}
    launch = Launcher(Settings(state=str(tmp_path)), Means()).launch(function(env_vars=variables))

    assert "GATEWAY_TOKEN" not in launch.environment
    assert (launch.environment["A"], launch.environment["OPENFAAS_NAME"]) == ("b", "a")
    assert launch.environment["KEY"] == f"{launch.secrets}/key"
    assert launch.literal("cat /var/openfaas/secrets/key") == f"cat {launch.secrets}/key"
    assert launch.prefix[-4:] == (*ENTER, "/s/images/1/function")


def test_functions_have_users_of_their_own_and_keep_them(tmp_path: Path) -> None:
    launcher = Launcher(Settings(state=str(tmp_path)), Means(users=True))

    def users(name: str) -> str:
        script = launcher.launch(function(name)).prefix[2]
        return script.partition("--reuid ")[2].split()[0]

    first, second = users("a"), users("b")

    assert first != second
    assert users("a") == first
    assert int(first) >= FIRST_USER


def test_a_function_that_shares_gpus_runs_as_the_gateways_user(tmp_path: Path) -> None:
    launcher = Launcher(Settings(state=str(tmp_path)), Means(users=True, mounts=True))

    assert "--reuid" in " ".join(launcher.launch(function()).prefix)
    assert "--reuid" not in " ".join(launcher.launch(function(), shares_gpus=True).prefix)


def test_a_limit_of_memory_is_that_of_each_process(tmp_path: Path) -> None:
    launcher = Launcher(Settings(state=str(tmp_path)), Means())

    assert "--data=134217728" in " ".join(launcher.launch(function(limits=Resources(memory="128Mi"))).prefix)
