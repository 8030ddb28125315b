import dataclasses

import pytest

from regrain.errors import SpecError
from regrain.graph import Graph, Ref
from regrain.manifest import Manifest, Parameter, SLOSpec
from regrain_watchdog.front.config import Config, options


def test_without_any_setting_the_defaults_hold():
    assert Config.from_env({}) == Config()


def test_every_setting_has_one_name_in_field_flag_and_environment():
    names = {option.name: (option.flag, option.environment) for option in options()}

    assert names["max_body"] == ("--max-body", "REGRAIN_MAX_BODY")
    assert list(names) == [field.name for field in dataclasses.fields(Config)]


@pytest.mark.parametrize("option", options(), ids=lambda option: option.name)
def test_a_default_written_out_is_the_default(option):
    assert Config.from_strings({option.name: option.default} if option.default else {}) == Config()


def test_sizes_and_durations_are_read_as_people_write_them():
    config = Config.from_env({"REGRAIN_MAX_BODY": "512Ki", "REGRAIN_BODY_TIMEOUT": "300ms"})

    assert (config.max_body, config.body_timeout) == (512 * 1024, 0.3)


def test_a_flag_wins_over_the_environment():
    config = Config.from_env({"REGRAIN_PORT": "1", "REGRAIN_GRAIN": "fine"}, {"port": "2"})

    assert (config.port, config.grain) == (2, "fine")


def test_an_empty_variable_counts_as_unset():
    assert Config.from_env({"REGRAIN_PORT": ""}).port == Config().port


def test_a_variable_that_is_no_setting_is_left_alone():
    assert Config.from_env({"REGRAIN_SERVICE_HOST": "10.0.0.1"}) == Config()


@pytest.mark.parametrize(
    ("variable", "flag", "value", "allowed"),
    [
        pytest.param("REGRAIN_MAX_BODY", "--max-body", "x", "512Ki", id="no size"),
        pytest.param("REGRAIN_MAX_BODY", "--max-body", "0", "from 1", id="empty size"),
        pytest.param(
            "REGRAIN_PORT", "--port", "tcp://10.0.0.1:80", "0 (any free port) to 65535", id="no port"
        ),
        pytest.param("REGRAIN_PORT", "--port", "65536", "to 65535", id="port too high"),
        pytest.param("REGRAIN_BODY_TIMEOUT", "--body-timeout", "0", "over 0", id="no time at all"),
        pytest.param("REGRAIN_DRAIN_TIMEOUT", "--drain-timeout", "soon", "300ms", id="no duration"),
        pytest.param("REGRAIN_SLO", "--slo", "fast", "durations over 0", id="no objective"),
        pytest.param("REGRAIN_SLO", "--slo", "0", "durations over 0", id="objective of nothing"),
        pytest.param("REGRAIN_HOST", "--host", "example", "IP address", id="no address"),
        pytest.param("REGRAIN_LOG_LEVEL", "--log-level", "loud", "debug, info", id="no level"),
        pytest.param("REGRAIN_MAX_QUEUE", "--max-queue", "-1", "whole numbers from 1", id="negative count"),
        pytest.param("REGRAIN_MEMORY", "--memory", "1Ki", "from 1048576", id="too little memory"),
    ],
)
def test_a_wrong_value_is_refused_naming_variable_flag_value_and_what_is_allowed(
    variable, flag, value, allowed
):
    with pytest.raises(SpecError) as caught:
        Config.from_env({variable: value})

    message = str(caught.value)
    assert message.startswith(f"{variable} ({flag}): was {value!r}, allowed are ")
    assert allowed in message


def test_a_value_that_code_gives_is_checked_too():
    with pytest.raises(SpecError, match=r"REGRAIN_PORT .* was -1"):
        Config(port=-1)


def test_a_name_that_is_no_setting_is_refused():
    with pytest.raises(SpecError, match="no setting is called max_bodies, there are host, port"):
        Config.from_strings({"max_bodies": "1"})


@pytest.mark.parametrize(
    ("setting", "declared", "expected"),
    [
        pytest.param("300ms", 0.8, 0.3, id="the setting wins"),
        pytest.param("", 0.8, 0.8, id="the app's own"),
        pytest.param("", None, None, id="neither"),
    ],
)
def test_the_objective_is_the_setting_or_else_the_apps_own(setting, declared, expected):
    manifest = Manifest(
        app="a",
        stages=(),
        graph=Graph(inputs=(), nodes=(), output=Ref("$x")),
        parameters=(),
        answer=Parameter(name="", kind="json"),
        slo=SLOSpec(latency=declared, attainment=0.9) if declared else None,
    )

    assert Config(slo=setting).latency(manifest) == expected


@pytest.mark.parametrize(("given", "missing"), [("tls_cert", "tls-key"), ("tls_key", "tls-cert")])
def test_tls_needs_both_files(given, missing):
    with pytest.raises(SpecError, match=rf"\(--{missing}\) is missing: TLS needs both files"):
        Config.from_strings({given: "file.pem"})


def test_off_loopback_the_admin_api_needs_a_key():
    with pytest.raises(SpecError, match=r"others can reach 0\.0\.0\.0, .* needs REGRAIN_ADMIN_KEY_FILE"):
        Config(admin_host="0.0.0.0")

    assert Config(admin_host="0.0.0.0", admin_key_file="key").admin_host == "0.0.0.0"
    assert Config(admin_host="::1").admin_host == "::1"
