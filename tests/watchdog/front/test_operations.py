import asyncio
from http import HTTPStatus

import pytest

from regrain.errors import GrainError, LoadError, RequestError
from regrain_watchdog.front.admin import Admin
from regrain_watchdog.front.live import Change
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.operations import Operations

CHANGE = Change(at=1.0, old="a (1)", new="b (2)", state="draining", seconds=0.5)


class Recorder:
    """Takes part of Changes: writes down what is asked for, and answers as it is told."""

    def __init__(self):
        self.asked = []
        self.trouble = None
        self.gate = None
        self.ended = 0
        self.held = None
        self.is_assigned = False

    async def _answer(self, *asked):
        self.asked.append(asked)
        if self.gate is not None:
            await self.gate.wait()
        self.ended += 1
        if self.trouble is not None:
            raise self.trouble
        return CHANGE

    async def regrain(self, grain, replicas="", *, hold):
        self.held = hold
        return await self._answer("regrain", grain, replicas)

    async def keep(self, setting):
        self.asked.append(("keep", setting))
        return 5

    def free(self):
        self.held = False

    async def scale(self, group, replicas):
        return await self._answer("scale", group, replicas)

    async def update(self):
        return await self._answer("update")

    async def roll_back(self):
        return await self._answer("roll back")


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def admin(listen, app_of, recorder):
    return listen(Admin(app_of(), Measure(), lambda: {"app": "echo"}, operations=Operations(recorder)))


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        ("/grain", b'{"grain": "fine"}', ("regrain", "fine", "")),
        ("/grain", b'{"grain": "a | b", "replicas": "a=2"}', ("regrain", "a | b", "a=2")),
        ("/scale", b'{"group": "a", "replicas": 2}', ("scale", "a", 2)),
        ("/update", b"", ("update",)),
        ("/update", b"{}", ("update",)),
        ("/rollback", b"", ("roll back",)),
    ],
)
def test_what_is_asked_for_is_done_and_told(admin, recorder, path, body, asked):
    answer = admin.post(body, path=path)

    assert recorder.asked == [asked]
    assert answer.status == 200
    assert answer.json == {
        "at": 1.0,
        "old": "a (1)",
        "new": "b (2)",
        "state": "draining",
        "seconds": 0.5,
        "detail": "",
        "by": "",
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/grain", b""),
        ("/grain", b"fine"),
        ("/grain", b'{"grain": 1}'),
        ("/grain", b'{"grain": "fine", "hold": 1}'),
        ("/auto", b'{"grain": "fine"}'),
        ("/resident", b"{}"),
        ("/resident", b'{"stages": ["a"]}'),
        ("/scale", b'{"group": "a", "replicas": "2"}'),
        ("/scale", b'{"group": "a", "replicas": 1.5}'),
        ("/update", b'{"now": true}'),
        ("/rollback", b"[]"),
    ],
)
def test_what_is_no_such_request_is_refused_before_anything_is_done(admin, recorder, path, body):
    answer = admin.post(body, path=path)

    assert (answer.status, recorder.asked) == (400, [])


def test_a_body_that_is_too_large_is_refused_and_no_setting_would_help(admin, recorder):
    answer = admin.post(b" " * 65537, path="/update")

    assert (answer.status, recorder.asked) == (413, [])
    assert answer.json["detail"] == "the body has more than 65536 bytes"


def test_a_grain_is_held_if_wanted_and_left_to_the_controller_again(admin, recorder):
    admin.post(b'{"grain": "fine", "hold": true}', path="/grain")
    assert recorder.held is True

    answer = admin.post(b"", path="/auto")

    assert (answer.json, recorder.held) == ({"held": False, "controller": False}, False)


def test_who_leaves_the_grain_to_the_controller_is_told_that_one_runs(listen, app_of, recorder):
    operations = Operations(recorder, is_adapted=True)
    admin = listen(Admin(app_of(), Measure(), lambda: {"app": "echo"}, operations=operations))

    assert admin.post(b"", path="/auto").json == {"held": False, "controller": True}


def test_a_controller_of_the_pods_is_one_that_runs(admin, recorder):
    recorder.is_assigned = True

    assert admin.post(b"", path="/auto").json == {"held": False, "controller": True}


def test_what_replicas_keep_is_asked_for_and_told_with_what_they_gave_back(admin, recorder):
    answer = admin.post(b'{"stages": "all"}', path="/resident")

    assert recorder.asked == [("keep", "all")]
    assert answer.json == {"resident": "all", "freed": 5}


def test_there_are_no_other_operations(admin):
    answer = admin.post(b"", path="/restart")

    assert answer.status == 404
    assert "/grain, /auto, /resident, /scale, /update, /rollback" in answer.json["detail"]


@pytest.mark.parametrize(
    ("trouble", "status", "said"),
    [
        (GrainError("no such grain"), 400, "no such grain"),
        (LoadError("SyntaxError"), 409, "the old version stays: SyntaxError"),
        (RequestError(HTTPStatus.CONFLICT, "the old plan stays"), 409, "the old plan stays"),
    ],
)
def test_why_nothing_has_changed_is_told(admin, recorder, trouble, status, said):
    recorder.trouble = trouble

    answer = admin.post(b"", path="/update")

    assert (answer.status, answer.json["detail"]) == (status, said)


def test_an_operation_goes_on_when_who_asked_for_it_has_gone(admin, recorder, loop, until):
    async def close():
        recorder.gate = asyncio.Event()

    async def open_again():
        recorder.gate.set()

    loop.run(close())
    with admin.connect() as caller:
        caller.sendall(b"POST /update HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        until(lambda: recorder.asked)
    assert admin.request("GET", "/status").status == 200
    loop.run(open_again())

    until(lambda: recorder.ended == 1)
