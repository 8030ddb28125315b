"""What users import: declare stages and a flow, run and test them as plain Python, and call a served app.

Importing it loads no model library and no server; what needs one is imported when it is first used.
"""

import importlib
import typing

from regrain.answers import Failure, answer
from regrain.app import SLO, App
from regrain.arrays import Tensor
from regrain.context import Context, context
from regrain.declare import GPU
from regrain.errors import (
    GrainError,
    LoadError,
    RegrainError,
    RequestError,
    SpecError,
    TraceError,
    UnsupportedValueError,
)
from regrain.request import Request, Response
from regrain.stage import Batched, Stage

if typing.TYPE_CHECKING:
    from regrain import testing
    from regrain._onnx import onnx
    from regrain._torch import torch
    from regrain.client import Client
    from regrain.grpc_client import AsyncGrpcClient, GrpcClient

__all__ = [
    "GPU",
    "SLO",
    "App",
    "AsyncGrpcClient",
    "Batched",
    "Client",
    "Context",
    "Failure",
    "GrainError",
    "GrpcClient",
    "LoadError",
    "RegrainError",
    "Request",
    "RequestError",
    "Response",
    "SpecError",
    "Stage",
    "Tensor",
    "TraceError",
    "UnsupportedValueError",
    "answer",
    "context",
    "onnx",
    "testing",
    "torch",
]

_LATER = {
    "AsyncGrpcClient": "regrain.grpc_client",
    "Client": "regrain.client",
    "GrpcClient": "regrain.grpc_client",
    "onnx": "regrain._onnx",
    "torch": "regrain._torch",
}


def __getattr__(name: str) -> object:
    if name == "testing":
        return importlib.import_module("regrain.testing")
    if name not in _LATER:
        raise AttributeError(f"module 'regrain' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return __all__
