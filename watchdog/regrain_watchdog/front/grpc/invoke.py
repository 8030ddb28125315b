"""The service regrain.App: a call over gRPC with the bodies that HTTP takes and gives."""

from __future__ import annotations

from http import HTTPStatus

import grpc

from regrain.errors import RequestError
from regrain.manifest import Manifest
from regrain.request import Request
from regrain.wire import invoke_pb2 as pb
from regrain_watchdog.front.answer import Answers
from regrain_watchdog.front.call import Call, Service
from regrain_watchdog.front.content import Inputs, Values, from_body
from regrain_watchdog.front.grpc.entry import Entry, Headers, parsed

NAME = "regrain.App"
INVOKE = f"/{NAME}/Invoke"


class Form:
    """How one version of an app is asked and answers.

    Args:
        manifest: of that version.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.answers = Answers(manifest.answer)
        self._inputs = Inputs(manifest.parameters)
        self._parameters = {parameter.name: parameter for parameter in manifest.parameters}
        self._raw = next((item.name for item in manifest.parameters if item.kind == "request"), "")

    def values(self, request: pb.InvokeRequest, headers: Headers) -> Values:
        """Return the parameters that a request carries; RequestError (400, 415) says what is wrong with it."""
        if self._raw:
            named = headers | ({"content-type": request.content_type} if request.content_type else {})
            body = Request(body=request.body, headers=named, method="POST", query={}, path="/")
            return {self._raw: body}
        if not request.parameters:
            return self._inputs.read(request.body, request.content_type, "")
        if request.body:
            raise _bad("there are a body and parameters: allowed are either")
        values: Values = {}
        for name, content in request.parameters.items():
            if name not in self._parameters:
                raise _bad(f"there is no parameter {name!r}; the app takes {', '.join(self._parameters)}")
            media = content.content_type.partition(";")[0].strip().lower()
            values[name] = from_body(content.body, self._parameters[name], media)
        for name, parameter in self._parameters.items():
            if parameter.required and name not in values:
                raise _bad(f"parameter {name!r} is missing; the app takes {', '.join(self._parameters)}")
        return values


class Invoke:
    """Answers the service's method for an app.

    Args:
        service: what runs the calls.
        entry: what calls go through.
    """

    def __init__(self, service: Service, entry: Entry) -> None:
        self._service = service
        self._entry = entry
        self._form = Form(service.manifest)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the method for a server."""
        return grpc.method_handlers_generic_handler(NAME, {"Invoke": self._entry.unary(INVOKE, self._invoke)})

    async def _invoke(self, data: bytes, call: Call, headers: Headers) -> pb.InvokeReply:
        if self._form.manifest is not self._service.manifest:
            self._form = Form(self._service.manifest)
        form = self._form
        request = parsed(pb.InvokeRequest, data)
        accept = "" if request.accept == "*/*" else request.accept
        form.answers.check(accept)
        call.values = form.values(request, headers)
        status, fields, body = form.answers.render(await self._service.submit(call), accept)
        if status >= HTTPStatus.BAD_REQUEST:
            known = status in HTTPStatus.__members__.values()
            code = HTTPStatus(status) if known else HTTPStatus.INTERNAL_SERVER_ERROR
            raise RequestError(code, body.decode("utf-8", "replace"))
        reply = pb.InvokeReply(body=body, status=status)
        for name, text in fields:
            if name == "content-type":
                reply.content_type = text
            else:
                reply.headers[name] = text
        return reply


def _bad(detail: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, detail)
