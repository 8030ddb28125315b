"""A command that runs for each request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.request import getproxies_environment

import psutil
import pytest

from regrain.errors import RequestError
from regrain_watchdog.gateway.journal import Journal
from regrain_watchdog.gateway.plane.homes import Homes
from regrain_watchdog.gateway.plane.kinds.fork import ForkInstance, variables
from regrain_watchdog.gateway.plane.launch import Launcher
from regrain_watchdog.gateway.plane.output import Log, Output
from regrain_watchdog.gateway.plane.route import Below
from regrain_watchdog.gateway.plane.version import Version
from regrain_watchdog.gateway.sandbox import Means
from regrain_watchdog.gateway.settings import Settings
from regrain_watchdog.gateway.spec import Deployment, Function, Image

PATIENCE = 60.0


class Asked:
    method = "POST"
    path = "/function/a/b"
    query_string = "c=d"
    headers = None


def test_a_request_is_told_in_variables() -> None:
    headers = {"content-type": "text/plain", "x-my-key": "v", "x-odd": "a\0b", "content-length": "2"}

    assert variables(Below(Asked(), "/b", headers)) == {
        "Http_Method": "POST",
        "Http_Path": "/b",
        "Http_Query": "c=d",
        "Http_ContentLength": "2",
        "Http_Content_Length": "2",
        "Http_Content_Type": "text/plain",
        "Http_X_My_Key": "v",
    }


@pytest.mark.parametrize("query", ["", "c=d"])
def test_a_header_does_not_pass_for_what_was_asked(query: str) -> None:
    headers = {"path": "/admin", "method": "DELETE", "query": "all", "host": "h"}
    asked = Asked()
    asked.query_string = query

    expected = {"Http_Method": "POST", "Http_Path": "/b", "Http_Host": "h"}
    assert variables(Below(asked, "/b", headers)) == expected | ({"Http_Query": query} if query else {})


@pytest.mark.parametrize("name", ["proxy", "http-proxy", "https-proxy", "all-proxy", "no-proxy"])
def test_no_caller_chooses_the_proxy_of_a_functions_own_requests(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for there in [there for there in os.environ if there.lower().endswith("_proxy")]:
        monkeypatch.delenv(there)
    for variable, text in variables(Below(Asked(), "/b", {name: "http://evil.example"})).items():
        monkeypatch.setenv(variable, text)

    taken = getproxies_environment()

    assert {"http", "https", "all", "no"}.isdisjoint(taken)


class Answered:
    """A request without a body, and the answer to it."""

    status = 0

    def arrived(self) -> bytes:
        return b""

    def response_bytes(self, status: int, headers: object, body: bytes) -> None:
        self.status = status


@asynccontextmanager
async def started(folder: Path, script: str, **variables: str) -> AsyncIterator[Version]:
    """Start a version whose command is a script of the shell's."""
    path = folder / "script"
    path.write_text(script)
    deployment = Deployment(
        service="a", image="a", namespace="dev", env_process=f"sh {path}", env_vars=variables
    )
    function = Function(deployment=deployment, image=Image(name="a", kind="fork"), created=0.0)
    log = Log(("dev", "a"), Journal(folder / "a.log"))
    output = Output(log, "a-1")
    launcher = Launcher(Settings(state=str(folder)), Means(tools=False), Homes(folder / "homes"))
    version = Version(ForkInstance(function, launcher, output), output, 1)
    try:
        await version.instance.start(1, nothing)
        async with asyncio.timeout(PATIENCE):
            yield version
    finally:
        await version.end()
        log.close()


async def nothing() -> None:
    """End no version before."""


async def until(holds: Callable[[], object]) -> None:
    """Wait for what is about to come true."""
    while not holds():
        await asyncio.sleep(0)


async def answered(version: Version) -> int:
    """Ask without a body; return the answer's status."""
    proto = Answered()
    try:
        await version.instance.__rsgi__(Below(Asked(), "/", {}), proto)
    except RequestError as error:
        return error.status
    return proto.status


@pytest.mark.process
def test_a_version_that_has_ended_runs_no_request_that_waited_and_writes_into_no_file_of_others(
    tmp_path: Path,
) -> None:
    began = tmp_path / "began"
    script = f"echo began >> {began}\necho complaint >&2\n[ $(wc -l < {began}) -gt 1 ] || exec sleep 600\n"
    others = [tmp_path / f"other-{number}" for number in range(3)]

    async def scenario() -> list[int]:
        async with started(tmp_path, script, max_inflight="1") as version:
            requests = [asyncio.ensure_future(answered(version)) for _ in range(4)]
            await until(lambda: version.instance.pids() and began.exists())
            await version.end()
            files = [path.open("w") for path in others]  # they have the numbers that are free now
            try:
                return await asyncio.gather(*requests)
            finally:
                for file in files:
                    file.close()

    statuses = asyncio.run(scenario())

    assert statuses[1:] == [HTTPStatus.SERVICE_UNAVAILABLE] * 3
    assert began.read_text() == "began\n"
    assert [path.read_text() for path in others] == [""] * 3


@pytest.mark.process
def test_what_is_just_being_started_ends_with_its_version(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, set[psutil.Process]]:
        async with started(tmp_path, "exec sleep 600\n") as version:
            before = set(psutil.Process().children())
            request = asyncio.ensure_future(answered(version))
            await asyncio.sleep(0)  # its process is there, and the loop does not have its pipes yet
            assert not version.instance.pids()
            assert len(set(psutil.Process().children()) - before) == 1
            await version.end()
            left = set(psutil.Process().children()) - before
            return await request, left

    status, left = asyncio.run(scenario())

    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert left == set()
