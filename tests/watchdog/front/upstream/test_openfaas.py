import pytest

from regrain.errors import SpecError
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.upstream.openfaas import translated

IMAGE = {"mode": "http", "fprocess": "python index.py", "upstream_url": "http://127.0.0.1:5000"}


def read(**environ: str) -> Config:
    return Config.from_env(translated({**IMAGE, **environ}))


def test_the_variables_of_an_image_for_of_watchdog_are_settings():
    config = read(
        port="8082",
        exec_timeout="1m30s",
        read_timeout="5",
        write_timeout="65s",
        max_inflight="4",
        ready_path="/up",
    )

    assert (config.fprocess, config.upstream_url) == ("python index.py", "http://127.0.0.1:5000")
    assert (config.host, config.port, config.max_inflight, config.ready_path) == ("0.0.0.0", 8082, 4, "/up")
    assert (config.exec_timeout, config.body_timeout, config.drain_timeout) == (90.0, 5.0, 65.0)
    assert config.healthcheck_interval == 65.0


def test_the_wait_before_the_drain_has_a_variable_of_its_own():
    assert read(write_timeout="65s", healthcheck_interval="5s").healthcheck_interval == 5.0


def test_a_time_of_zero_is_no_limit_as_there():
    config = read(read_timeout="0", write_timeout="0s", exec_timeout="0")

    assert (config.exec_timeout, config.healthcheck_interval) == (0.0, 0.0)
    assert config.body_timeout == config.drain_timeout == 86_400.0


@pytest.mark.parametrize(
    ("text", "seconds"), [("300h", 1_080_000.0), ("100us", 1e-4), ("1000001", 1_000_001.0)]
)
def test_times_are_read_however_long_or_short(text, seconds):
    assert read(exec_timeout=text).exec_timeout == pytest.approx(seconds, rel=1e-9)


def test_the_older_names_are_read_too():
    config = Config.from_env(
        translated({"mode": "http", "function_process": "run me", "http_upstream_url": "http://localhost:1"})
    )

    assert (config.fprocess, config.upstream_url) == ("run me", "http://localhost:1")


def test_ours_win():
    assert read(port="8082", REGRAIN_PORT="9000").port == 9000


def test_the_lock_file_is_where_of_watchdog_has_it():
    assert read(TMPDIR="/var/tmp").lock_file == "/var/tmp/.lock"
    assert read(suppress_lock="true").lock_file == ""


@pytest.mark.parametrize("environ", [{}, {"fprocess": "cat"}, {"port": "80", "exec_timeout": "1s"}])
def test_an_environment_without_an_upstream_is_left_alone(environ):
    assert translated(environ) == environ


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"mode": "streaming"}, "mode: was 'streaming', allowed is http"),
        ({"exec_timeout": "soon"}, "exec_timeout: was 'soon', allowed are seconds and Go durations"),
        ({"exec_timeout": "9" * 400}, "REGRAIN_EXEC_TIMEOUT"),
        ({"max_inflight": "-1"}, "REGRAIN_MAX_INFLIGHT"),
    ],
)
def test_what_cannot_be_is_refused_by_name(environ, said):
    with pytest.raises(SpecError, match=said):
        read(**environ)
