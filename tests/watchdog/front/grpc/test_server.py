"""The gRPC server with a service in memory: Invoke, health, reflection, errors, limits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from http import HTTPStatus

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from regrain.errors import RequestError, SpecError
from regrain.manifest import Parameter
from regrain.wire.invoke_pb2 import Content, InvokeReply, InvokeRequest
from regrain_watchdog.front.call import Reply
from regrain_watchdog.front.grpc import inference_pb2 as pb
from regrain_watchdog.front.grpc.status import CODES, code, trailers

INVOKE = "/regrain.App/Invoke"
INFER = "/inference.GRPCInferenceService/ModelInfer"
TEXTS = (Parameter(name="text", kind="str"), Parameter(name="data", kind="json", required=False))


def invoked(served, **fields):
    answer, told = served.call(INVOKE, InvokeRequest(**fields).SerializeToString())
    return InvokeReply.FromString(answer), told


def refused(served, path=INVOKE, message=b"", **options):
    with pytest.raises(grpc.RpcError) as raised:
        served.call(path, message, **options)
    return raised.value, dict(raised.value.trailing_metadata() or ())


def answers(served):
    with contextlib.suppress(grpc.RpcError):
        return invoked(served, body=b"x")[0].body == b"x"
    return False


def fails_with(error):
    async def behave(_call):
        raise error

    return behave


def test_invoke_takes_and_gives_a_body_and_tells_the_call_id(grpc_serve):
    served = grpc_serve()

    reply, told = invoked(served, body=b"\x00\xff")

    assert (reply.body, reply.content_type, reply.status) == (b"\x00\xff", "application/octet-stream", 200)
    assert told["x-call-id"] == served.service.calls[0].id


def test_the_size_of_a_request_is_that_of_its_message(grpc_serve):
    served = grpc_serve()

    invoked(served, body=bytes(1000))

    assert served.service.calls[0].size == len(InvokeRequest(body=bytes(1000)).SerializeToString())


def test_invoke_takes_parameters_each_by_its_own_type(grpc_serve, app_of):
    served = grpc_serve(app_of(*TEXTS))

    parameters = {
        "text": Content(body=b"hi", content_type="text/plain"),
        "data": Content(body=b"[1, 2]", content_type="application/json"),
    }
    invoked(served, parameters=parameters)

    assert served.service.calls[0].values == {"text": "hi", "data": [1, 2]}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"parameters": {"x": Content()}}, "there is no parameter 'x'", id="unknown"),
        pytest.param({"parameters": {"data": Content(body=b"1")}}, "'text' is missing", id="missing"),
        pytest.param({}, "'text' is missing", id="empty"),
        pytest.param({"body": b"a", "parameters": {"text": Content()}}, "allowed are either", id="both"),
        pytest.param({"body": b"{", "content_type": "application/json"}, "no JSON", id="malformed"),
    ],
)
def test_a_request_that_does_not_fit_is_an_invalid_argument(grpc_serve, app_of, fields, said):
    served = grpc_serve(app_of(*TEXTS))

    error, told = refused(served, message=InvokeRequest(**fields).SerializeToString())

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in error.details()
    assert told["x-status"] == "400"


@pytest.mark.parametrize("path", [INVOKE, INFER])
def test_bytes_that_are_no_message_are_an_invalid_argument(grpc_serve, path):
    error, _ = refused(grpc_serve(), path, b"\xff\xff\xff")

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "the message is no" in error.details()


def test_metadata_become_headers_without_those_that_are_binary(grpc_serve):
    served = grpc_serve()

    metadata = (("x-from", "a"), ("x-from", "b"), ("x-bin", b"\x00"), ("x-call-id", "mine"))
    _, told = served.call(INVOKE, InvokeRequest(body=b"x").SerializeToString(), metadata=metadata)

    headers = served.service.calls[0].headers
    assert b"x-from" in headers
    assert b"a, b" in headers
    assert b"x-bin" not in headers
    assert told["x-call-id"] == served.service.calls[0].id == "mine"


def test_a_malformed_call_id_is_refused(grpc_serve):
    error, _ = refused(grpc_serve(), metadata=(("x-call-id", "with blank"),))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(("status", "wanted"), CODES.items())
def test_each_status_has_one_code_of_grpc(grpc_serve, status, wanted):
    served = grpc_serve(behave=fails_with(RequestError(status, "because", stage="act")))

    error, told = refused(served, message=InvokeRequest(body=b"x").SerializeToString())

    assert (error.code(), error.details()) == (wanted, "because")
    assert (told["x-status"], told["x-stage"]) == (str(status.value), "act")


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\U0001f600"])
def test_a_long_sentence_reaches_the_caller_without_its_middle(grpc_serve, letter):
    served = grpc_serve(
        behave=fails_with(RequestError(HTTPStatus.BAD_REQUEST, f"why: {letter * 9000}: allowed is y"))
    )

    error, told = refused(served, message=InvokeRequest(body=b"x").SerializeToString())

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith(f"why: {letter}")
    assert error.details().endswith(f"{letter}: allowed is y")
    assert told["x-status"] == "400"


def test_a_stage_that_metadata_cannot_name_is_left_out(grpc_serve):
    served = grpc_serve(behave=fails_with(RequestError(HTTPStatus.BAD_GATEWAY, "because", stage="a\r\nb")))

    error, told = refused(served, message=InvokeRequest(body=b"x").SerializeToString())

    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "because")
    assert "x-stage" not in told


def test_statuses_without_a_code_of_their_own_fall_back_by_whose_fault_it_is():
    assert code(HTTPStatus.IM_A_TEAPOT) is grpc.StatusCode.INVALID_ARGUMENT
    assert code(HTTPStatus.INSUFFICIENT_STORAGE) is grpc.StatusCode.INTERNAL


def test_no_capacity_says_when_to_try_again(grpc_serve):
    full = RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "full", headers={"Retry-After": "2"})

    error, told = refused(
        grpc_serve(behave=fails_with(full)), message=InvokeRequest(body=b"x").SerializeToString()
    )

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert (told["retry-after"], told["grpc-retry-pushback-ms"]) == ("2", "2000")


@pytest.mark.parametrize("text", ["\u0663", "9" * 5000, "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_time_that_grpc_cannot_say_is_left_out(text):
    error = RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "full", headers={"retry-after": text})

    assert trailers(error) == (("x-status", "503"),)


def test_what_nobody_foresaw_is_internal_and_says_no_more_than_its_call_id(grpc_serve):
    served = grpc_serve(behave=fails_with(ZeroDivisionError("secret")))

    error, told = refused(served, message=InvokeRequest(body=b"x").SerializeToString())

    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    assert told["x-call-id"] in error.details()


def test_the_caller_s_deadline_lowers_the_call_s_and_ends_it(grpc_serve, app_of, until, with_time):
    def lowered(seconds):
        """It must have come by then."""
        ended = threading.Event()

        async def behave(_call):
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        served = grpc_serve(app_of(slo=60.0), behave)

        method = served.channel.unary_unary(INVOKE, bytes, bytes)
        with pytest.raises(grpc.RpcError) as raised:
            method(InvokeRequest(body=b"x").SerializeToString(), timeout=seconds)

        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        call = served.service.calls[0]
        assert ended.wait(60)
        assert 0 < call.deadline - call.arrived < 1.25 * seconds
        until(lambda: served.measure.in_flight == 0)

    with_time(lowered, 0.2)


def test_the_objective_is_the_deadline_of_a_caller_that_gives_none(grpc_serve, app_of):
    served = grpc_serve(app_of(slo=0.5))

    served.channel.unary_unary(INVOKE, bytes, bytes)(InvokeRequest(body=b"x").SerializeToString())

    call = served.service.calls[0]
    assert call.deadline - call.arrived == pytest.approx(0.5)


def test_a_caller_that_cancels_has_its_call_cancelled(grpc_serve, until):
    began, ended = threading.Event(), threading.Event()

    async def behave(_call):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    served = grpc_serve(behave=behave)
    call = served.channel.unary_unary(INVOKE, bytes, bytes).future(
        InvokeRequest(body=b"x").SerializeToString()
    )
    assert began.wait(60)

    call.cancel()

    assert ended.wait(60)
    until(lambda: served.measure.in_flight == 0)


def test_a_message_over_the_limit_is_refused_and_the_next_one_answered(grpc_serve):
    served = grpc_serve(max_body=1000)

    error, _ = refused(served, message=InvokeRequest(body=bytes(200_000)).SerializeToString())

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert invoked(served, body=b"x")[0].body == b"x"


def test_calls_over_the_limit_of_those_at_once_are_refused(grpc_serve, until):
    free = asyncio.Event()

    async def behave(call):
        await free.wait()
        return Reply(value=call.values["image"])

    served = grpc_serve(behave=behave, max_connections=2)
    method = served.channel.unary_unary(INVOKE, bytes, bytes)
    message = InvokeRequest(body=b"x").SerializeToString()
    held = [method.future(message) for _ in range(2)]
    until(lambda: len(served.service.calls) == 2)

    error, _ = refused(served, message=message)

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def release():
        free.set()

    served.loop.run(release())
    assert all(call.result(60) for call in held)


def test_what_a_stage_answers_as_an_error_is_one(grpc_serve):
    async def behave(_call):
        return Reply(value="not yours", status=403)

    error, told = refused(grpc_serve(behave=behave), message=InvokeRequest(body=b"x").SerializeToString())

    assert (error.code(), error.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not yours")
    assert told["x-status"] == "403"


def test_health_follows_readiness_and_knows_its_services(grpc_serve):
    served = grpc_serve()
    stub = health_pb2_grpc.HealthStub(served.channel)

    assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    served.service.trouble = "no warm replica yet"
    for name in ("", "regrain.App", "inference.GRPCInferenceService"):
        found = stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert found.status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(grpc.RpcError) as raised:
        stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_those_who_watch_health_are_told_of_changes_and_of_the_end(grpc_serve):
    served = grpc_serve()
    stub = health_pb2_grpc.HealthStub(served.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)

    first = next(watch).status
    served.service.trouble = "a replica died"
    second = next(watch).status
    served.service.trouble = ""
    third = next(watch).status
    served.loop.run(served.server.stop(5.0))

    serving, other = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert (first, second, third) == (serving, other, serving)
    assert [found.status for found in watch] == [other]


def test_whoever_watches_health_there_is_room_for_calls(grpc_serve, until):
    served = grpc_serve(max_connections=4)
    stub = health_pb2_grpc.HealthStub(served.channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(4)]
    until(lambda: sum(watch.done() for watch in watches) == 3)

    assert {watch.code() for watch in watches if watch.done()} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    until(lambda: answers(served))  # once the server has seen the last of them off as well
    [taken] = [watch for watch in watches if not watch.done()]
    taken.cancel()


def test_reflection_tells_every_service_and_its_messages(grpc_serve):
    database = ProtoReflectionDescriptorDatabase(grpc_serve().channel)

    services = set(database.get_services())
    file = database.FindFileContainingSymbol("inference.GRPCInferenceService")

    assert services >= {"inference.GRPCInferenceService", "regrain.App", "grpc.health.v1.Health"}
    assert "ModelInferRequest" in [message.name for message in file.message_type]


def test_a_port_that_was_asked_for_and_is_taken_is_an_error_that_says_what_to_change(grpc_serve):
    served = grpc_serve()

    with pytest.raises(SpecError, match="grpc-port"):
        grpc_serve(grpc_port=served.server.port)


def test_a_stream_ends_when_the_server_drains_and_what_was_read_is_answered(grpc_serve, app_of):
    served = grpc_serve(app_of(Parameter(name="text", kind="str")))
    more = threading.Event()

    def requests():
        for text in (b"a", b"b"):
            yield _request(text)
        more.wait(60)

    stream = served.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer", bytes, bytes)
    answers = stream(requests(), timeout=60)
    first = [pb.ModelStreamInferResponse.FromString(next(answers)) for _ in range(2)]

    served.loop.run(served.server.stop(10.0))
    more.set()

    assert [one.infer_response.raw_output_contents[0][4:] for one in first] == [b"a", b"b"]
    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK


def _request(text):
    message = pb.ModelInferRequest(model_name="echo")
    message.inputs.add(name="text", datatype="BYTES", shape=[1])
    message.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
    return message.SerializeToString()
