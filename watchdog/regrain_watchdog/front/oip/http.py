"""The protocol over HTTP: paths, JSON bodies, and the extension that puts binary tensors behind the JSON.

GET /v2, /v2/health/live, /v2/health/ready, /v2/models/NAME[/versions/V][/ready | /config | /stats] and
/v2/models/stats tell what there is; POST .../infer asks; POST /v2/repository/index is empty. Errors are
{"error": "..."}, as the protocol has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from regrain.errors import RequestError
from regrain_watchdog.front.answer import JSON, Response
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.oip.inference import Inference, Request, Result, refuse, timeout_of
from regrain_watchdog.front.oip.model import server_metadata
from regrain_watchdog.front.oip.tensors import Tensor, from_list, from_raw, to_list, to_raw

ROOT = "/v2"
LENGTH = "inference-header-content-length"
"""The header that says how many bytes of a body are JSON; binary tensors follow."""
OCTETS = "application/octet-stream"
PROBE = re.compile(r"(?:health/(?=live|ready)|models/(?=stats))(live|ready|stats)")
MODEL = re.compile(r"models/([^/]+)(?:/versions/([^/]+))?(?:/([^/]+))?")
_encode = msgspec.json.Encoder().encode
Length = Annotated[int, Meta(ge=0)]


class Input(Struct, frozen=True):
    """An input in a request's JSON."""

    name: str
    shape: tuple[Length, ...]
    datatype: str
    parameters: dict[str, object] = {}
    data: list[object] | None = None


class Output(Struct, frozen=True):
    """An output that a request's JSON asks for."""

    name: str
    parameters: dict[str, object] = {}


class Body(Struct, frozen=True):
    """A request's JSON."""

    inputs: tuple[Input, ...]
    id: str = ""
    outputs: tuple[Output, ...] = ()
    parameters: dict[str, object] = {}


_decode = msgspec.json.Decoder(Body).decode


@dataclass(frozen=True, slots=True)
class Path:
    """Where below /v2 a request goes: a model and version ("" if none is named), and what of it."""

    model: str = ""
    version: str = ""
    verb: str = ""


class OpenInference:
    """Serves the paths below /v2.

    Args:
        inference: the app.
    """

    def __init__(self, inference: Inference) -> None:
        self.inference = inference

    @property
    def route(self) -> str:
        """Where the model is asked, whatever model or version a request names."""
        return f"{ROOT}/models/{self.inference.model.name}/infer"

    @staticmethod
    def owns(path: str) -> bool:
        """Whether a path is one of the protocol's."""
        return path == ROOT or path.startswith(f"{ROOT}/")

    @staticmethod
    def infers(method: str, path: str) -> bool:
        """Whether a request is one of a model, with a body and an answer of its own."""
        return method == "POST" and path.endswith("/infer") and path.startswith(f"{ROOT}/models/")

    @staticmethod
    def refusal(error: RequestError, _call_id: str) -> Response:
        """Return an error as the protocol has it."""
        fields = [("content-type", JSON), *((name.lower(), text) for name, text in error.headers.items())]
        detail = f"stage {error.stage}: {error.detail}" if error.stage else error.detail
        return error.status.value, fields, _encode({"error": detail})

    def page(self, method: str, path: str) -> Response:
        """Answer what is no inference; RequestError 404, 405."""
        found = _path(path)
        if self.infers("POST", path):
            raise _not_allowed(path, "POST")
        if path.rstrip("/") == f"{ROOT}/repository/index":
            if method != "POST":
                raise _not_allowed(path, "POST")
            return 200, [("content-type", JSON)], b"[]"
        content = self._content(found, path)
        if method not in ("GET", "HEAD"):
            raise _not_allowed(path, "GET, HEAD")
        if isinstance(content, int):
            return content, [("content-type", JSON)], b""
        return 200, [("content-type", JSON)], _encode(content)

    async def infer(self, call: Call, path: str, headers: dict[str, str], sent: bytes) -> Response:
        """Answer a request of the model; RequestError says how it failed."""
        asked, body = read(_path(path), headers, sent)
        result = await self.inference.run(call, asked, headers)
        return write(result, body)

    def _content(self, path: Path, text: str) -> object:
        """What a path holds as JSON values; an int is a bare status."""
        model = self.inference.model
        if path.model:
            model.check(path.model, path.version)
        match path:
            case Path(model="", verb=""):
                return server_metadata()
            case Path(model="", verb="live"):
                return 200
            case Path(verb="ready"):
                return 503 if self.inference.service.unready() else 200
            case Path(verb=""):
                return model.metadata()
            case Path(verb="config") if path.model:
                return model.config()
            case Path(verb="stats"):
                return {"model_stats": [self.inference.statistics.told(model)]}
        raise _nothing(text)


def read(path: Path, headers: Mapping[str, str], sent: bytes) -> tuple[Request, Body]:
    """Return what a body asks for; RequestError (400, 415) says what is wrong with it."""
    if headers.get("content-encoding", "identity") != "identity":
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding: allowed is identity alone")
    length = _json_length(headers.get(LENGTH), len(sent))
    try:
        body = _decode(memoryview(sent)[:length])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _bad(f"the body is no inference request: {error}") from error
    refuse(body.parameters)
    for output in body.outputs:
        refuse(output.parameters)
    request = Request(
        model=path.model,
        version=path.version,
        id=body.id,
        inputs=_inputs(body.inputs, memoryview(sent)[length:]),
        outputs=[output.name for output in body.outputs],
        timeout=timeout_of(body.parameters),
    )
    return request, body


def write(result: Result, body: Body) -> Response:
    """Return a result as its request wants it: outputs in JSON, or behind it."""
    by_name = {output.name: output.parameters.get("binary_data") for output in body.outputs}
    otherwise = body.parameters.get("binary_data_output") is True
    behind: list[bytes] = []
    outputs = []
    for tensor in result.outputs:
        told: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        wanted = by_name.get(tensor.name)
        if wanted is True or (wanted is None and otherwise):
            behind.append(to_raw(tensor))
            told["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            told["data"] = to_list(tensor)
        outputs.append(told)
    named = {"model_name": result.model.name, "model_version": result.model.version}
    head = _encode(named | ({"id": result.id} if result.id else {}) | {"outputs": outputs})
    if not behind:
        return 200, [("content-type", JSON)], head
    return 200, [("content-type", OCTETS), (LENGTH, str(len(head)))], b"".join([head, *behind])


def _path(path: str) -> Path:
    text = path.removeprefix(ROOT).strip("/")
    if not text:
        return Path()
    if found := PROBE.fullmatch(text):
        return Path(verb=found[1])
    found = MODEL.fullmatch(text)
    return Path(found[1], found[2] or "", found[3] or "") if found else Path(verb="nothing")


def _json_length(text: str | None, available: int) -> int:
    if text is None:
        return available
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= available):
        raise _bad(f"Inference-Header-Content-Length was {text[:40]!r}, the body has {available} bytes")
    return int(text)


def _inputs(inputs: Sequence[Input], behind: memoryview) -> list[Tensor]:
    tensors = []
    for one in inputs:
        refuse(one.parameters)
        size = one.parameters.get("binary_data_size")
        if size is None:
            tensors.append(from_list(one.name, one.datatype, one.shape, one.data or []))
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(behind):
            raise _bad(f"input {one.name!r}: binary_data_size was {size!r}, {len(behind)} bytes are left")
        tensors.append(from_raw(one.name, one.datatype, one.shape, behind[:size]))
        behind = behind[size:]
    if behind:
        raise _bad(f"{len(behind)} bytes of the body belong to no input")
    return tensors


def _bad(detail: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, detail)


def _nothing(path: str) -> RequestError:
    return RequestError(HTTPStatus.NOT_FOUND, f"there is nothing at {path} of the Open Inference Protocol")


def _not_allowed(path: str, allowed: str) -> RequestError:
    detail = f"{path} takes {allowed} alone"
    return RequestError(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"allow": allowed})
