"""The app as an OpenAPI 3.1 document, made from its manifest."""

from __future__ import annotations

import itertools

from regrain.manifest import Manifest, Parameter
from regrain.media import EVENTS, LINES
from regrain_watchdog.front.answer import JSON
from regrain_watchdog.front.problem import MEDIA_TYPE

JSONObject = dict[str, object]
BINARY: JSONObject = {"type": "string", "contentEncoding": "base64"}
CALL_ID: JSONObject = {"type": "string", "maxLength": 128}
ERRORS = {
    "400": "The request is malformed.",
    "406": "The answer has no form that Accept allows.",
    "408": "The body took too long.",
    "413": "The body is too large, or a list in it too long.",
    "415": "The body's type says nothing to this app.",
    "500": "A stage failed.",
    "502": "The process that served the request ended.",
    "503": "There is no capacity at present.",
    "504": "The deadline passed.",
}


def document(manifest: Manifest) -> JSONObject:
    """Return the document as JSON values."""
    definitions: JSONObject = {"Problem": _problem()}
    paths: JSONObject = {
        manifest.path: {"post": _call(manifest, definitions)},
        "/_/health": {"get": _probe("Whether the app lives", "alive", "stopping")},
        "/_/ready": {"get": _probe("Whether every group has a warm replica", "ready", "not ready")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": manifest.app, "description": manifest.doc, "version": manifest.digest or "0"},
        "paths": paths,
        "components": {"schemas": definitions},
    }


def _call(manifest: Manifest, definitions: JSONObject) -> JSONObject:
    queried = [parameter for parameter in manifest.parameters if parameter.kind == "str"]
    operation: JSONObject = {
        "operationId": "call",
        "summary": manifest.doc.partition("\n")[0] or f"Call {manifest.app}",
        "parameters": [
            {"name": "X-Call-Id", "in": "header", "schema": CALL_ID},
            *({"name": item.name, "in": "query", "schema": _schema(item, definitions)} for item in queried),
        ],
        "responses": {"200": _answer(manifest, definitions)}
        | {code: _error(text) for code, text in ERRORS.items()},
    }
    if manifest.parameters:
        operation["requestBody"] = {
            "content": _bodies(manifest.parameters, definitions),
            "required": any(
                parameter.required and parameter.kind != "str" for parameter in manifest.parameters
            ),
        }
    return operation


def _bodies(parameters: tuple[Parameter, ...], definitions: JSONObject) -> JSONObject:
    if any(parameter.kind == "request" for parameter in parameters):
        return {"*/*": {}}
    named: JSONObject = {
        "type": "object",
        "properties": {parameter.name: _schema(parameter, definitions) for parameter in parameters},
        "required": [parameter.name for parameter in parameters if parameter.required],
        "additionalProperties": False,
    }
    content: JSONObject = {"application/json": {"schema": named}, "multipart/form-data": {"schema": named}}
    kinds = [parameter.kind for parameter in parameters]
    if kinds.count("bytes") == 1:
        content["application/octet-stream"] = {}
    if kinds.count("str") == 1:
        content["text/plain"] = {"schema": {"type": "string"}}
    if kinds.count("array") == 1:
        content["application/x-npy"] = {}
    return content


def _answer(manifest: Manifest, definitions: JSONObject) -> JSONObject:
    answer = manifest.answer
    schema = _schema(answer, definitions)
    content: JSONObject = {"application/json": {"schema": schema}}
    if manifest.graph.streams:
        content = {media: {"schema": schema} for media in (LINES, EVENTS)}
        content[JSON] = {"schema": {"type": "array", "items": schema}}
    elif answer.kind == "request":
        content = {"*/*": {}}
    elif answer.kind == "bytes":
        content["application/octet-stream"] = {}
    elif answer.kind == "str":
        content["text/plain"] = {"schema": {"type": "string"}}
    elif answer.kind == "array":
        content["application/x-npy"] = {}
    headers: JSONObject = {
        "X-Call-Id": {"schema": CALL_ID},
        "X-Duration-Seconds": {"schema": {"type": "number"}},
        "Server-Timing": {"schema": {"type": "string"}},
    }
    return {"description": "The app's answer.", "headers": headers, "content": content}


def _schema(parameter: Parameter, definitions: JSONObject) -> JSONObject:
    """A parameter's schema; what its `$defs` hold moves to the document's components.

    Under another name where one of them is taken there: parameters may have types of one name in two modules.
    """
    if parameter.kind == "bytes":
        return BINARY
    for number in itertools.count(1):
        suffix = f"-{number}" if number > 1 else ""
        schema = {name: _moved(item, suffix) for name, item in parameter.schema.items()}
        inner = schema.pop("$defs", {})
        found = {f"{name}{suffix}": item for name, item in inner.items()} if isinstance(inner, dict) else {}
        if all(definitions.get(name, item) == item for name, item in found.items()):
            break
    definitions |= found
    return schema


def _moved(value: object, suffix: str) -> object:
    if isinstance(value, dict):
        return {name: _moved(item, suffix) for name, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, suffix) for item in value]
    if isinstance(value, str) and value.startswith("#/$defs/"):
        return value.replace("#/$defs/", "#/components/schemas/", 1) + suffix
    return value


def _error(text: str) -> JSONObject:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {MEDIA_TYPE: {"schema": schema}}}


def _probe(summary: str, yes: str, no: str) -> JSONObject:
    return {"summary": summary, "responses": {"200": {"description": yes}, "503": {"description": no}}}


def _problem() -> JSONObject:
    text: JSONObject = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457; call_id is in the log too, stage is where the request ended.",
        "properties": {
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "call_id": text,
            "stage": text,
        },
        "required": ["title", "status", "detail"],
    }
