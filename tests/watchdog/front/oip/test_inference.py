"""A batch is run as calls of its items, answered together."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus

import pytest

from regrain.errors import RequestError
from regrain.manifest import Parameter
from regrain_watchdog.front.call import Call, Reply
from regrain_watchdog.front.oip.inference import Inference, Request
from regrain_watchdog.front.oip.tensors import from_list

TEXT = Parameter(name="text", kind="str")
BATCH = Request(model="echo", version="", id="a", inputs=[from_list("text", "BYTES", [3], ["a", "b", "c"])])


def called():
    return Call(id="a", values={}, headers=b"", arrived=time.monotonic())


def test_all_items_of_a_batch_run_under_the_version_in_force_when_it_is_asked(app_of, echo_service):
    versions = []

    class Versioned(echo_service):
        version = 1

        def submit(self, call):
            versions.append(self.version)
            return super().submit(call)

    async def scenario():
        service = Versioned(app_of(TEXT))
        asked = asyncio.create_task(Inference(service).run(called(), BATCH, {}))
        await asyncio.sleep(0)
        service.version = 2
        await asked

    asyncio.run(scenario())

    assert versions == [1, 1, 1]


def test_the_items_of_a_batch_have_one_account_of_what_they_cost(app_of, echo_service):
    async def scenario():
        service, call = echo_service(app_of(TEXT)), called()
        await Inference(service).run(call, BATCH, {})
        return [one.spans is call.spans for one in service.calls]

    assert asyncio.run(scenario()) == [True, True, True]


def test_the_first_item_that_fails_is_named_and_the_others_are_cancelled(app_of, echo_service):
    ended = []

    async def behave(call):
        if call.values["text"] == "b":
            raise RequestError(HTTPStatus.BAD_REQUEST, "not b", stage="act", headers={"Retry-After": "1"})
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(call.values["text"])
        return Reply(value=None)

    async def scenario():
        await Inference(echo_service(app_of(TEXT), behave)).run(called(), BATCH, {})

    with pytest.raises(RequestError) as raised:
        asyncio.run(scenario())

    error = raised.value
    assert (error.status, error.detail, error.stage) == (400, "item 1: not b", "act")
    assert error.headers == {"Retry-After": "1"}
    assert sorted(ended) == ["a", "c"]
