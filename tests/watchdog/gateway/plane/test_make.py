import pytest

from regrain_watchdog.gateway.plane.make import listens
from regrain_watchdog.gateway.spec import Deployment


@pytest.mark.parametrize(
    ("command", "variables", "server"),
    [
        ("cat", {}, False),
        ("wsgi:app:app", {}, True),
        ("python serve.py", {"upstream_url": "http://127.0.0.1:5000"}, True),
        ("python serve.py", {"mode": "http"}, True),
        ("python serve.py", {"upstream_url": ""}, False),
    ],
)
def test_a_command_is_a_server_or_started_for_each_request(
    command: str, variables: dict[str, str], server: bool
) -> None:
    assert listens(Deployment(env_process=command, env_vars=variables)) is server
