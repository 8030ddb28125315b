import pytest

from regrain.errors import SpecError
from regrain_watchdog.gateway.plane import wishes
from regrain_watchdog.gateway.plane.wishes import config
from regrain_watchdog.gateway.spec import Deployment


def test_an_annotation_wins_over_a_label_and_that_over_a_variable() -> None:
    deployment = Deployment(
        annotations={"regrain.slo": "100ms"},
        labels={"regrain.slo": "200ms", "regrain.grain": "fine"},
        env_vars={"REGRAIN_GRAIN": "coarse", "REGRAIN_MAX_QUEUE": "7"},
    )

    found = config(deployment, 3)

    assert (found.slo, found.grain, found.max_queue, found.replicas) == ("100ms", "fine", 7, "3")


def test_what_is_the_gateways_own_cannot_be_chosen() -> None:
    found = config(Deployment(env_vars={"REGRAIN_PORT": "1", "REGRAIN_DECISION_LOG": "/etc/x"}), 1)

    assert (found.port, found.decision_log) == (8080, "")


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(SpecError, match=r"SLO.*'soon'"):
        config(Deployment(labels={"regrain.slo": "soon"}), 1)


@pytest.mark.parametrize(
    "deployment",
    [
        Deployment(annotations={"regrain.gpus": "emulated:v100x2"}),
        Deployment(env_vars={"REGRAIN_GPUS": "emulated:a10", "REGRAIN_SCENARIO": "scenario.toml"}),
    ],
    ids=["annotation", "variable"],
)
def test_emulated_gpus_are_refused_naming_those_that_a_function_may_have(deployment: Deployment) -> None:
    said = r"gpus was 'emulated:.*': a function has no emulated GPUs; allowed are .*: lease, green, mps, mig"
    with pytest.raises(SpecError, match=said):
        wishes.check(deployment)


@pytest.mark.parametrize(("text", "adapts"), [("", False), ("on", True), ("off", False), ("true", True)])
def test_a_function_may_choose_its_plan_by_itself(text: str, adapts: bool) -> None:
    assert wishes.adapts(Deployment(annotations={"regrain.adapt": text})) is adapts


def test_a_remark_of_a_deployment_is_no_setting() -> None:
    wishes.check(Deployment(annotations={"regrain.dev/app": "ocr", "regrain.slo": "1s"}))
