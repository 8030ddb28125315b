"""Calls with something wrong in them: each ends with a status that says so, and the next good one is answered."""

from __future__ import annotations

import logging
import random
import socket
import struct

import grpc
import pytest
from grpc_reflection.v1alpha import reflection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrain.manifest import Parameter, TensorSpec
from regrain.wire.invoke_pb2 import Content, InvokeRequest
from regrain_watchdog.front.grpc import inference_pb2 as pb

SEED = 20261122
EXAMPLES = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
OIP = "/inference.GRPCInferenceService/"
INFER, STREAM, INVOKE = f"{OIP}ModelInfer", f"{OIP}ModelStreamInfer", "/regrain.App/Invoke"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECT = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"
UNARY = (INFER, INVOKE, CHECK, *(f"{OIP}{name}" for name in ("ModelReady", "ModelConfig", "ModelStatistics")))
ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
}
PARAMETERS = (
    Parameter(name="x", kind="array", tensor=TensorSpec(datatype="FP32", shape=(2, 3)), required=False),
    Parameter(name="text", kind="str", required=False),
    Parameter(name="options", kind="json", required=False),
)
NOT_UTF8 = b"/inference.GRPCInferenceService/\x80"

lengths = st.one_of(
    st.integers(0, 4), st.sampled_from([-1, 6, 257, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63)])
)
names = st.sampled_from(["x", "text", "options", "other", ""])
datatypes = st.sampled_from(["FP32", "FP64", "BYTES", "BOOL", "INT8", "UINT64", "FP16", "BF16", "fp32", ""])
contents = st.builds(
    pb.InferTensorContents,
    int_contents=st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=3),
    fp32_contents=st.one_of(st.just([0.0] * 6), st.lists(st.floats(width=32), max_size=7)),
    bytes_contents=st.lists(st.binary(max_size=4), max_size=3),
    bool_contents=st.lists(st.booleans(), max_size=2),
)
choices = st.one_of(
    st.builds(pb.InferParameter, int64_param=st.integers(-(1 << 63), (1 << 63) - 1)),
    st.builds(pb.InferParameter, string_param=st.text(max_size=5)),
    st.builds(pb.InferParameter, bool_param=st.booleans()),
    st.builds(pb.InferParameter),
)
parameters = st.dictionaries(
    st.sampled_from(["timeout", "sequence_id", "shared_memory_region", "priority"]), choices, max_size=2
)
inputs = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=names,
    datatype=datatypes,
    shape=st.one_of(st.just([2, 3]), st.lists(lengths, max_size=4), st.just([1] * 40)),
    contents=st.one_of(st.none(), contents),
    parameters=parameters,
)
requests = st.builds(
    pb.ModelInferRequest,
    model_name=st.sampled_from(["echo", "echo", "echo", "other", ""]),
    model_version=st.sampled_from(["", "", "7"]),
    inputs=st.lists(inputs, max_size=3),
    outputs=st.lists(
        st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=st.sampled_from(["output", "no"])),
        max_size=1,
    ),
    parameters=parameters,
    raw_input_contents=st.lists(st.one_of(st.binary(max_size=9), st.just(bytes(24))), max_size=3),
)
bodies = st.one_of(
    st.binary(max_size=9), st.sampled_from([b'{"x": [[1]]}', b"[" * 3000, b"1e999", b'"\\ud800"'])
)
media = st.sampled_from(
    ["application/json", "text/plain", "application/x-npy", "multipart/form-data", "?", ""]
)
invocations = st.builds(
    InvokeRequest,
    body=bodies,
    content_type=media,
    parameters=st.dictionaries(names, st.builds(Content, body=bodies, content_type=media), max_size=2),
)


@pytest.fixture
def served(grpc_serve, app_of):
    return grpc_serve(app_of(*PARAMETERS))


@pytest.fixture
def hasty(grpc_serve, app_of):
    """One that soon cuts off who says nothing, which on a slow machine may be anybody."""
    return grpc_serve(app_of(*PARAMETERS), header_timeout=0.5)


@pytest.fixture
def calm(caplog):
    """The front must have met nothing that its code, or grpc's, did not foresee."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def status(served, path, message, **options):
    try:
        served.call(path, message, **options)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def statuses_of_stream(served, path, messages):
    try:
        for _ in served.channel.stream_stream(path, bytes, bytes)(iter(messages), timeout=60):
            pass
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def is_answered(served):
    message = InvokeRequest(body=b"{}", content_type="application/json").SerializeToString()
    return status(served, INVOKE, message, wait_for_ready=True) is grpc.StatusCode.OK


@pytest.mark.usefixtures("calm")
def test_requests_of_the_protocol_with_any_values_are_answered_or_refused(served):
    @EXAMPLES
    @given(requests)
    def send(request):
        assert status(served, INFER, request.SerializeToString()) in ANSWERS | {
            grpc.StatusCode.DEADLINE_EXCEEDED
        }

    send()
    assert is_answered(served)


@pytest.mark.usefixtures("calm")
def test_invocations_with_any_bodies_are_answered_or_refused(served):
    @EXAMPLES
    @given(invocations)
    def send(request):
        assert status(served, INVOKE, request.SerializeToString()) in ANSWERS

    send()
    assert is_answered(served)


@pytest.mark.usefixtures("calm")
def test_bytes_that_may_be_no_message_are_answered_or_refused_by_every_method(served):
    @EXAMPLES
    @given(st.sampled_from(UNARY), st.one_of(st.binary(max_size=40), requests.map(_cut)))
    def send(path, message):
        assert status(served, path, message) in ANSWERS

    send()
    assert is_answered(served)


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("path", [STREAM, REFLECT])
def test_streams_of_what_may_be_no_message_end_with_a_status(served, path):
    @settings(EXAMPLES, max_examples=50)
    @given(st.lists(st.one_of(st.binary(max_size=20), requests.map(_cut)), max_size=5))
    def send(messages):
        assert statuses_of_stream(served, path, messages) in ANSWERS

    send()
    assert is_answered(served)


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("path", [CHECK, WATCH, REFLECT])
def test_bytes_that_are_no_message_are_an_invalid_argument_of_health_and_reflection(served, path):
    assert statuses_of_stream(served, path, [b"\xff\xff"]) is grpc.StatusCode.INVALID_ARGUMENT


def test_connections_that_speak_nearly_http2_are_ended_and_the_next_call_is_answered(hasty, until):
    rng = random.Random(SEED)
    for number in range(200):
        with _connected(hasty) as connection:
            _send(connection, _garbled(rng), ends=number % 10 > 0)
            _until_closed(connection)

    until(lambda: is_answered(hasty))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"PRI * HTTP/2.0\r\n", id="half a preface"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)), id="no call"),
    ],
)
def test_a_connection_on_which_nothing_comes_is_closed_in_the_time_for_heads(hasty, data):
    with _connected(hasty) as connection:
        connection.sendall(data)

        _until_closed(connection)


def test_a_caller_that_stands_still_within_its_message_is_cut_off(hasty, until):
    with _connected(hasty) as connection:
        connection.sendall(b"".join(_call(INVOKE.encode(), b"\0\0\0\1\0half of it", flags=0)))

        _until_closed(connection)

    until(lambda: is_answered(hasty))


def test_a_path_that_is_no_utf8_does_not_end_the_server(hasty, until):
    for _ in range(3):
        with _connected(hasty) as connection:
            connection.sendall(b"".join(_call(NOT_UTF8, bytes(5))))
            _until_closed(connection)

        until(lambda: is_answered(hasty))


def _cut(request):
    """A message without some of its bytes."""
    data = request.SerializeToString()
    return data[: len(data) // 2] + data[len(data) // 2 + 1 :]


def _connected(served):
    host, _, port = served.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def _send(connection, data, *, ends):
    try:
        connection.sendall(data)
        if ends:
            connection.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _until_closed(connection):
    """Read until the server closes; its timeout is a failure."""
    try:
        while connection.recv(1 << 16):
            continue
    except ConnectionError:
        return


def _call(path, message, flags=1):
    """A connection's preface, and a call by it."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    block = b"".join(bytes((0, len(name))) + name + bytes((len(text),)) + text for name, text in fields)
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield _frame(4, 0, 0, b"")
    yield _frame(1, 4, 1, block)
    yield _frame(0, flags, 1, message)


def _frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _garbled(rng):
    frames = list(_call(INVOKE.encode(), bytes(5)))
    frames.insert(
        rng.randrange(1, 5), _frame(rng.randrange(12), rng.randrange(256), rng.randrange(3), rng.randbytes(9))
    )
    data = bytearray(b"".join(frames))
    match rng.randrange(3):
        case 0:
            return rng.randbytes(rng.randint(1, 200))
        case 1:
            return bytes(data[: rng.randrange(len(data))])
        case _:
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(24, len(data))] = rng.randrange(128)  # ASCII: of others see the path above
            return bytes(data)
