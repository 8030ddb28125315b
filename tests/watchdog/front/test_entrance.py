import json

import msgspec
import pytest

from regrain.manifest import Parameter
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.entrance import Entrance
from regrain_watchdog.front.http import Ingress
from regrain_watchdog.front.measure import Measure

BODY = b'{"text": "a"}'
HEAD = f"POST /PATH HTTP/1.1\r\nHost: a\r\nACCEPTContent-Length: {len(BODY)}\r\n\r\n"


def parameter(name):
    return Parameter(name=name, kind="json", schema={"type": "string"})


@pytest.fixture
def version(app_of, echo_service):
    """Make the ingress of a version that takes these parameters."""

    def make(*parameters, path="/"):
        service = echo_service(msgspec.structs.replace(app_of(*parameters), path=path))
        return Ingress(service, Measure(), Config(port=0))

    return make


@pytest.fixture
def entered(loop, listen):
    """Send the head of a request, put another version in force, and send the body; return the response."""

    def ask(old, new, path="", accept=""):
        entrance = Entrance(old)
        client = listen(entrance)
        head = HEAD.replace("PATH", path).replace("ACCEPT", f"Accept: {accept}\r\n" if accept else "")
        with client.connect() as caller:
            caller.sendall(head.encode() + BODY[:4])

            async def swap():
                entrance.enter(new)

            assert client.request("GET", "/_/health").status == 200  # so that the head has been taken
            loop.run(swap())
            caller.sendall(BODY[4:])
            head, _, body = caller.recv(65536).partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body) if b"json" in head else body

    return ask


def test_a_request_is_read_and_run_by_the_version_in_force_when_its_body_has_come(entered, version):
    old, new = version(parameter("text"), parameter("more")), version(parameter("text"))

    assert entered(old, new) == (200, b"a")
    assert old._service.calls == []
    assert len(new._service.calls) == 1


def test_a_request_that_the_new_version_does_not_take_is_refused_by_it(entered, version):
    old, new = version(parameter("text")), version(parameter("words"), parameter("more"))

    status, problem = entered(old, new)

    assert status == 400
    assert "words" in problem["detail"]


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [pytest.param("deep", "", 404, id="a path"), pytest.param("", "text/html", 406, id="a type")],
)
def test_what_only_the_old_version_answered_is_refused(entered, version, path, accept, status):
    raw = version(Parameter(name="request", kind="request"))

    assert entered(raw, version(parameter("text")), path, accept)[0] == status


@pytest.mark.parametrize(("new", "status"), [("/first", 200), ("/second", 404)])
def test_a_request_at_an_apps_own_path_is_answered_where_the_new_version_has_it(
    entered, version, new, status
):
    old = version(parameter("text"), path="/first")

    got, said = entered(old, version(parameter("text"), path=new), "first")

    assert got == status
    assert status == 200 or said["detail"] == "there is no /first; the app is at /second"


def test_an_app_that_is_to_stop_says_so_in_every_later_version(version):
    first, second = version(), version()
    entrance = Entrance(first)

    entrance.drain()
    entrance.enter(second)

    assert second.draining
    assert entrance.ingress is second
