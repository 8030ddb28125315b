import pytest

from regrain.errors import SpecError
from regrain.grain import make_plan
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.upstream.target import find
from regrain_watchdog.front.upstream.upstream import Address

URL = "http://127.0.0.1:5000"


def test_a_wsgi_app_is_served_by_gunicorn_and_given_no_more_than_its_threads():
    target = find(Config(replicas="3"), "wsgi:shop.web:make()")

    assert target is not None
    assert target.name == "shop.web"
    assert target.command[-1] == "shop.web:make()"
    assert target.command[target.command.index("--workers") + 1] == "3"
    assert target.config.max_inflight == 12


def test_max_inflight_of_a_wsgi_app_can_be_set():
    target = find(Config(max_inflight=1), "wsgi:app:app")

    assert target is not None
    assert target.config.max_inflight == 1


def test_a_command_is_split_as_a_shell_does():
    target = find(Config(upstream_url=URL, fprocess="/opt/run 'a b' --c"), ".")

    assert target is not None
    assert (target.name, target.command) == ("run", ("/opt/run", "a b", "--c"))


def test_an_upstream_is_an_app_of_one_stage_to_all_who_know_apps():
    target = find(Config(upstream_url=URL), ".")

    assert target is not None
    assert target.name == "127.0.0.1"
    assert make_plan(target.manifest, "upstream").grain == "upstream"


def test_an_app_is_no_upstream():
    assert find(Config(), "app.py") is None


@pytest.mark.parametrize(
    ("settings", "module", "said"),
    [
        ({"fprocess": "cat"}, ".", "REGRAIN_UPSTREAM_URL .* is missing"),
        ({"upstream_url": URL}, "app.py", "either app.py or an upstream"),
        ({"upstream_url": URL}, "wsgi:app:app", "either wsgi:app:app or an upstream"),
        ({"upstream_url": URL, "fprocess": "'"}, ".", "REGRAIN_FPROCESS"),
        ({"upstream_url": URL, "ready_path": "up"}, ".", "REGRAIN_READY_PATH"),
        (
            {"upstream_url": "https://a"},
            ".",
            "REGRAIN_UPSTREAM_URL: was 'https://a', allowed is http://HOST:PORT",
        ),
        ({"upstream_url": "http://a:b"}, ".", "REGRAIN_UPSTREAM_URL"),
        ({"upstream_url": "http://a/?b"}, ".", "REGRAIN_UPSTREAM_URL"),
        ({}, "wsgi:app", "allowed is wsgi:MODULE:CALLABLE"),
        ({"replicas": "app=2"}, "wsgi:app:app", "number of workers"),
    ],
)
def test_what_names_no_upstream_is_refused(settings, module, said):
    with pytest.raises(SpecError, match=said):
        find(Config(**settings), module)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost", Address(host="localhost", port=80)),
        ("http://[::1]:81/base/", Address(host="::1", port=81, prefix="/base")),
    ],
)
def test_an_address_has_host_port_and_what_stands_before_each_path(url, address):
    assert Address.parse(url) == address


@pytest.mark.parametrize("netloc", ["localhost:80", "10.0.0.6:8080", "[::1]:81", "[fd00::6]:8080"])
def test_an_address_is_written_as_it_is_read(netloc):
    assert Address.parse(f"http://{netloc}/base").netloc == netloc
