"""Who may use the control plane, what it bears, and that it starts again over what it kept."""

from __future__ import annotations

import base64
import signal
import stat

import pytest

from regrain_watchdog.gateway.control.answers import BODY

pytestmark = pytest.mark.process
PATHS = ["/system/info", "/system/functions", "/system/nope", "/ui/", "/ui/functions", "/nope", "/build/"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "shown", ["", "Bearer ", "Basic " + base64.b64encode(b"admin:wrong").decode(), "Basic nonsense"]
)
def test_who_does_not_know_the_password_gets_nothing(control, path, shown):
    for method in ("GET", "POST"):
        refused = control.request(method, path, Authorization=shown)

        assert (refused.status, refused.text) == (401, "invalid credentials")
        assert refused.headers["www-authenticate"] == 'Basic realm="Restricted"'


def test_a_build_shows_its_signature_and_no_password(control):
    control.settings.key.write_bytes(b"the key of builds")

    refused = control.request("POST", "/build", b"a tar archive", Authorization="")

    assert refused.status == 401
    assert refused.text == "X-Build-Signature is missing, or not made with the payload secret"


def test_a_body_that_nobody_read_does_not_spoil_the_connection(control):
    connection = control.connect()
    big = b"x" * (BODY // 2)

    refused = control.open(connection, "POST", "/system/functions", big, Authorization="Bearer ")
    assert (refused.status, refused.read()) == (401, b"invalid credentials")
    if connection.sock is None:  # it may close the connection instead
        connection = control.connect()
    answered = control.open(connection, "GET", "/system/info")

    assert answered.status == 200
    connection.close()


def test_a_body_that_is_too_large_is_refused(control):
    value = {"service": "hello", "image": "hello", "envVars": {"a": "x" * BODY}}

    assert control.request("POST", "/system/functions", value).status == 413


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_changes_are_not_taken_from_another_site_s_page(control, origin):
    refused = control.request("POST", "/system/secrets", {"name": "key", "value": "a"}, Origin=origin)

    assert refused.status == 403
    assert control.request("GET", "/system/secrets", Origin=origin).json() == []


def test_changes_are_taken_from_our_own_page(control):
    value = {"name": "key", "value": "a"}
    assert control.request("POST", "/system/secrets", value, Origin="http://127.0.0.1:8080").status == 202


def test_without_a_password_what_is_shown_does_not_matter(start):
    control = start(auth=False)

    for shown in ("", "Bearer ", "Basic nonsense"):
        assert control.request("GET", "/system/functions", Authorization=shown).status == 200


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.1:8080", "[::1", ""])
def test_without_a_password_a_page_that_points_its_name_here_gets_nothing(start, host):
    control = start(auth=False)

    assert control.request("GET", "/system/functions", Host=host).status in (400, 403)
    assert control.request("GET", "/system/functions", Host="localhost:8080").status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_password_callbacks_get_nothing(start, method):
    control = start(auth=False)

    refused = control.request(method, "/system/functions", b"x" * 65536, X_Function_Status="200")

    assert (refused.status, refused.text) == (
        403,
        "without a password callbacks are taken by functions alone",
    )


def test_the_socket_is_its_owner_s(control):
    assert stat.S_IMODE(control.settings.control_socket.stat().st_mode) & 0o077 == 0


def test_after_kill_9_all_is_there(start):
    control = start()
    control.request("POST", "/system/functions", {"service": "hello", "image": "hello"})
    control.request("POST", "/system/secrets", {"name": "key", "value": "a"})
    before = control.request("GET", "/system/function/hello").json()

    control.stop(signal.SIGKILL)
    control.start()

    assert control.request("GET", "/system/function/hello").json() == before
    assert control.request("GET", "/system/secrets").json() == [{"name": "key", "namespace": "openfaas-fn"}]


def test_a_file_that_cannot_be_written_is_told(start):
    control = start()
    (control.settings.secrets / "openfaas-fn").mkdir(parents=True)
    (control.settings.secrets / "openfaas-fn" / "key").mkdir()

    refused = control.request("POST", "/system/secrets", {"name": "key", "value": "a"})

    assert refused.status == 507
    assert refused.text.startswith("this could not be kept:")
