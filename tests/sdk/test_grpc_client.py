"""Both gRPC clients against a server that answers what a test tells it to."""

import asyncio
import threading
from concurrent import futures

import grpc
import numpy as np
import pytest

from regrain import AsyncGrpcClient, GrpcClient, RequestError, SpecError
from regrain.wire.invoke_pb2 import InvokeReply, InvokeRequest


class Answering(grpc.GenericRpcHandler):
    """Answers every method by `behave`, and keeps what came."""

    def __init__(self):
        self.requests = []
        self.metadata = {}
        self.behave = lambda request, context: InvokeReply(
            body=request.body, content_type=request.content_type
        )

    def service(self, call_details):
        if call_details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x01")

        def answer(request, context):
            self.requests.append(request)
            self.metadata = dict(context.invocation_metadata())
            return self.behave(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, InvokeRequest.FromString, InvokeReply.SerializeToString
        )


class Awaited:
    """The async client, called as the other one is."""

    def __init__(self, *arguments, **settings):
        async def make():
            return AsyncGrpcClient(*arguments, **settings)

        self._runner = asyncio.Runner()
        try:
            self._client = self._runner.run(make())
        except BaseException:
            self._runner.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._runner.run(self._client.close())
        self._runner.close()

    def invoke(self, *body, **parameters):
        return self._runner.run(self._client.invoke(*body, **parameters))

    def ready(self):
        return self._runner.run(self._client.ready())


@pytest.fixture(params=[GrpcClient, Awaited], ids=["sync", "async"])
def caller(request):
    return request.param


@pytest.fixture
def answering():
    return Answering()


@pytest.fixture
def address(answering):
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((answering,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture
def client(address, caller):
    with caller(address, timeout=60.0) as client:
        yield client


@pytest.mark.parametrize(
    ("value", "media"),
    [
        pytest.param(b"\x00\xff", "application/octet-stream", id="bytes"),
        pytest.param("gr\u00fc\u00df dich", "text/plain; charset=utf-8", id="text"),
        pytest.param({"a": [1, None]}, "application/json", id="json"),
        pytest.param(5, "application/json", id="number"),
    ],
)
def test_a_body_goes_out_as_what_it_is_and_comes_back_the_same(client, answering, value, media):
    assert client.invoke(value) == value
    assert answering.requests[0].content_type == media


def test_an_array_stays_an_array(client):
    array = np.arange(6, dtype=np.float16).reshape(2, 3)

    answer = client.invoke(array)

    assert answer.dtype == array.dtype
    np.testing.assert_array_equal(answer, array)


def test_parameters_go_out_each_by_its_own_type(client, answering):
    client.invoke(image=b"\xff", name="hi", sizes=[1, 2], x=np.zeros(2))

    sent = answering.requests[0].parameters
    assert (sent["image"].body, sent["image"].content_type) == (b"\xff", "application/octet-stream")
    assert (sent["name"].body, sent["name"].content_type) == (b'"hi"', "application/json")
    assert sent["sizes"].body == b"[1,2]"
    assert sent["x"].content_type == "application/x-npy"


def test_no_body_is_an_empty_one(client, answering):
    assert client.invoke() == b""
    assert answering.requests[0].content_type == ""


def test_an_error_of_the_app_has_its_status_detail_stage_and_headers(client, answering):
    def fail(_request, context):
        told = {"x-status": "502", "x-stage": "act", "x-call-id": "abc", "retry-after": "2"}
        context.set_trailing_metadata(tuple(told.items()))
        context.abort(grpc.StatusCode.INTERNAL, "the replica died")

    answering.behave = fail

    with pytest.raises(RequestError) as raised:
        client.invoke(b"x")

    error = raised.value
    assert (error.status, error.detail, error.stage) == (502, "the replica died", "act")
    assert error.headers == {"X-Call-Id": "abc", "Retry-After": "2"}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.UNAUTHENTICATED, 401),
        (grpc.StatusCode.DATA_LOSS, 502),
    ],
)
def test_an_error_of_grpc_itself_has_the_status_that_means_it(client, answering, code, status):
    answering.behave = lambda _request, context: context.abort(code, "no")

    with pytest.raises(RequestError) as raised:
        client.invoke(b"x")

    assert raised.value.status == status


def test_no_answer_in_time_is_504(address, answering, caller):
    def hang(_request, context):
        context.add_callback(lambda: None)
        while context.is_active():
            pass
        return InvokeReply()

    answering.behave = hang

    with (
        caller(address, timeout=0.2) as client,
        pytest.raises(RequestError, match=r"within 0\.2 s") as raised,
    ):
        client.invoke(b"x")

    assert raised.value.status == 504


def test_nobody_there_is_503_and_not_ready(caller):
    with caller("127.0.0.1:1", timeout=60.0) as client:
        assert not client.ready()
        with pytest.raises(RequestError, match=r"nothing answers at 127\.0\.0\.1:1") as raised:
            client.invoke(b"x")

    assert raised.value.status == 503


def test_ready_asks_for_the_server_s_health(client):
    assert client.ready()


def test_a_key_is_shown(address, answering, caller):
    with caller(address, key="secret-of-mine") as client:
        client.invoke(b"x")

    assert answering.metadata["authorization"] == "Bearer secret-of-mine"


@pytest.mark.parametrize("kind", [GrpcClient, AsyncGrpcClient])
def test_what_is_no_key_is_refused_untold(kind):
    with pytest.raises(SpecError, match="key must be") as caught:
        kind(key="secret\n")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["localhost", "http://localhost:9000", ":9000", "host:"])
def test_an_address_without_host_and_port_is_refused(address, caller):
    with pytest.raises(SpecError, match="host:9000"):
        caller(address)


def test_a_body_and_parameters_are_refused_together(client):
    with pytest.raises(SpecError, match="not both"):
        client.invoke(b"x", y=1)


def test_a_value_that_cannot_be_sent_is_refused_by_its_type(client):
    with pytest.raises(SpecError, match="type object"):
        client.invoke(object())


def test_awaited_calls_run_at_once_over_one_connection(address, answering):
    both = threading.Barrier(2, timeout=60)

    def meet(request, _context):
        both.wait()
        return InvokeReply(body=request.body, content_type=request.content_type)

    answering.behave = meet

    async def scenario():
        async with AsyncGrpcClient(address) as client:
            return await asyncio.gather(client.invoke(b"a"), client.invoke(b"b"))

    assert asyncio.run(scenario()) == [b"a", b"b"]


def test_an_awaited_call_that_is_cancelled_ends_at_the_app(address, answering):
    began, ended = threading.Event(), threading.Event()

    def hang(_request, context):
        context.add_callback(ended.set)
        began.set()
        ended.wait(60)
        return InvokeReply()

    answering.behave = hang

    async def scenario():
        async with AsyncGrpcClient(address) as client:
            call = asyncio.create_task(client.invoke(b"x"))
            await asyncio.to_thread(began.wait, 60)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(ended.wait, 60)

    asyncio.run(scenario())
