"""The messages: compiled from their files, and the same as those that other clients speak."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from regrain.wire import invoke_pb2
from regrain_watchdog.front.grpc import inference_pb2

ROOT = Path(__file__).parents[4]
COMPILER = runpy.run_path(str(ROOT / "tests" / "protos.py"))


@pytest.mark.process
@pytest.mark.parametrize("proto", COMPILER["PROTOS"])
def test_what_is_committed_is_what_the_files_compile_to(proto, tmp_path):
    pytest.importorskip("grpc_tools", reason="compiling needs grpcio-tools")

    messages, stub = COMPILER["compiled"](proto, tmp_path)

    kept = (ROOT / proto).parent
    found, wanted = ((folder / messages.name).read_bytes() for folder in (kept, tmp_path))
    assert FileDescriptorSet.FromString(found) == FileDescriptorSet.FromString(wanted)
    assert (kept / stub.name).read_text() == stub.read_text()


def shape(message):
    """A message's fields by name: number, type, whether repeated, and whose message it holds."""
    return {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            field.message_type and field.message_type.full_name,
        )
        for field in message.fields
    }


def compare(mine, theirs):
    assert shape(mine).items() <= shape(theirs).items(), mine.full_name
    others = dict(theirs.nested_types_by_name)
    for inner in mine.nested_types:
        compare(inner, others[inner.name])


def test_every_message_of_inference_has_the_numbers_and_types_of_tritonclient():
    pytest.importorskip("tritonclient.grpc", reason="compares with tritonclient")
    from tritonclient.grpc import model_config_pb2, service_pb2

    ours = inference_pb2.POOL.FindFileByName("inference.proto")
    files = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    theirs = {name: message for file in files for name, message in file.message_types_by_name.items()}
    kinds = model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"].values_by_name

    for name, message in ours.message_types_by_name.items():
        compare(message, theirs[name])
    for kind in ours.enum_types_by_name["DataType"].values:
        assert kinds[kind.name].number == kind.number
    methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for method in ours.services_by_name["GRPCInferenceService"].methods:
        other = methods[method.name]
        assert method.input_type.full_name == other.input_type.full_name
        assert method.output_type.full_name == other.output_type.full_name
        assert (method.client_streaming, method.server_streaming) == (
            other.client_streaming,
            other.server_streaming,
        )


def test_messages_keep_to_a_pool_of_their_own_beside_other_clients():
    assert inference_pb2.POOL is not invoke_pb2.POOL
    assert inference_pb2.ModelInferRequest.DESCRIPTOR.full_name == "inference.ModelInferRequest"
    request = invoke_pb2.InvokeRequest(body=b"x", parameters={"a": invoke_pb2.Content(body=b"y")})
    assert invoke_pb2.InvokeRequest.FromString(request.SerializeToString()) == request
