"""Deadlines, priorities and callers that leave, over gRPC as over HTTP."""

from __future__ import annotations

import asyncio
import threading

import grpc
import msgspec
import pytest

from regrain.manifest import Parameter
from regrain.wire.invoke_pb2 import InvokeRequest
from regrain_watchdog.front.grpc import inference_pb2 as pb

INVOKE = "/regrain.App/Invoke"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
MESSAGE = InvokeRequest(body=b"x").SerializeToString()


class Held:
    """Calls that wait until they are cancelled."""

    def __init__(self, count=1):
        self.began = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.count = count

    async def __call__(self, _call):
        self.began.release()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended.release()

    def all(self, which):
        return all(which.acquire(timeout=60) for _ in range(self.count))


def counted(served, name):
    page = served.measure.page()[1].decode()
    return [line for line in page.splitlines() if line.startswith(name)]


def tensor_request(text):
    message = pb.ModelInferRequest(model_name="echo")
    message.inputs.add(name="text", datatype="BYTES", shape=[1])
    message.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("metadata", "timeout", "seconds"),
    [
        pytest.param((), None, 60.0, id="the objective"),
        pytest.param((("x-timeout", "1500ms"),), None, 1.5, id="X-Timeout"),
        pytest.param((("x-regrain-deadline-ms", "2500"),), None, 2.5, id="what is left of a deadline"),
        pytest.param((("x-timeout", "90s"),), None, 60.0, id="nobody raises the objective"),
        pytest.param((("x-timeout", "5s"),), 30.0, 5.0, id="the earlier of both"),
    ],
)
def test_the_earliest_deadline_holds(grpc_serve, app_of, metadata, timeout, seconds):
    served = grpc_serve(app_of(slo=60.0))

    served.channel.unary_unary(INVOKE, bytes, bytes)(MESSAGE, timeout=timeout, metadata=metadata)

    call = served.service.calls[0]
    assert call.deadline - call.arrived == pytest.approx(seconds)
    assert call.firm == (seconds < 60.0)


def test_a_priority_in_metadata_is_the_call_s(grpc_serve):
    served = grpc_serve()

    served.call(INVOKE, MESSAGE, metadata=(("x-regrain-priority", "0"),))

    assert served.service.calls[0].priority == 0


@pytest.mark.parametrize(
    ("name", "text"), [("x-timeout", "soon"), ("x-regrain-deadline-ms", "-1"), ("x-regrain-priority", "10")]
)
def test_what_is_no_deadline_and_no_priority_is_an_invalid_argument(grpc_serve, name, text):
    served = grpc_serve()

    with pytest.raises(grpc.RpcError) as raised:
        served.call(INVOKE, MESSAGE, metadata=((name, text),))

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert name in raised.value.details().lower()
    assert not served.service.calls


def test_a_deadline_that_passes_is_counted_as_late_and_ends_the_call(grpc_serve, until, with_time):
    def late(seconds):
        """The call must have begun by then; and where its caller's word of the end is quicker it is counted so."""
        held = Held()
        served = grpc_serve(behave=held)

        with pytest.raises(grpc.RpcError) as raised:
            served.channel.unary_unary(INVOKE, bytes, bytes)(MESSAGE, timeout=seconds)

        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert held.began.acquire(blocking=False)
        assert held.all(held.ended)
        until(lambda: served.measure.in_flight == 0)
        assert counted(served, 'regrain_misses_total{reason="late"}') == [
            'regrain_misses_total{reason="late"} 1.0'
        ]

    with_time(late, 0.3)


def test_a_caller_that_leaves_is_counted_as_such_and_not_as_a_miss(grpc_serve, until):
    held = Held()
    served = grpc_serve(behave=held)
    call = served.channel.unary_unary(INVOKE, bytes, bytes).future(MESSAGE)
    assert held.all(held.began)

    call.cancel()

    assert held.all(held.ended)
    until(lambda: served.measure.in_flight == 0)
    assert counted(served, "regrain_cancelled_total") == ["regrain_cancelled_total 1.0"]
    assert not served.measure.misses


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_stream_that_ends_early_takes_all_its_calls_with_it(grpc_serve, app_of, until, with_time, how):
    def ends(seconds):
        held = Held(count=3)
        served = grpc_serve(app_of(Parameter(name="text", kind="str")), held)
        requests = iter([tensor_request(text) for text in (b"a", b"b", b"c")])
        stream = served.channel.stream_stream(STREAM, bytes, bytes)
        call = stream(requests, timeout=seconds if how == "deadline" else None)

        if how == "cancel":
            assert held.all(held.began)
            call.cancel()
        else:
            assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert all(held.began.acquire(blocking=False) for _ in range(3))

        assert held.all(held.ended)
        until(lambda: served.measure.in_flight == 0)

    with_time(ends, 0.3)


def test_calls_of_a_stream_share_its_deadline_and_its_metadata(grpc_serve, app_of):
    served = grpc_serve(app_of(Parameter(name="text", kind="str")))
    stream = served.channel.stream_stream(STREAM, bytes, bytes)

    told = (("x-regrain-priority", "2"),)
    answers = list(stream(iter([tensor_request(b"a"), tensor_request(b"b")]), timeout=30.0, metadata=told))

    assert len(answers) == 2
    assert [call.priority for call in served.service.calls] == [2, 2]
    assert all(0 < call.deadline - call.arrived < 31.0 for call in served.service.calls)
    assert all(
        msgspec.msgpack.decode(call.headers)["x-regrain-priority"] == "2" for call in served.service.calls
    )
