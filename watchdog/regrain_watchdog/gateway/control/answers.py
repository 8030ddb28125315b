"""What the control plane answers with: JSON, or text that a client prints."""

from __future__ import annotations

import msgspec
from flask import Response, abort, request

from regrain_watchdog.gateway import spec
from regrain_watchdog.gateway.spec import Read

BODY = 2 << 20
"""Bytes of a request's body, which is less: the largest secret in base64, and room."""
_encode = msgspec.json.Encoder().encode


def body() -> bytes:
    """Return the request's body; 413 for one that is too large."""
    request.max_content_length = BODY
    found = request.get_data()
    if len(found) >= BODY:  # what comes in chunks is cut there
        abort(413)
    return found


def sent(kind: type[Read]) -> Read:
    """Return the request's body as a value; SpecError names what is wrong with it."""
    return spec.loads(body(), kind)


def namespace() -> str:
    """Return the namespace that the request's query names, or the default one; SpecError if it can be none."""
    return spec.namespaced(request.args.get("namespace", ""))


def json(value: object) -> Response:
    """Answer with a value."""
    return Response(_encode(value), mimetype="application/json")


def text(sentence: str, status: int = 200) -> Response:
    """Answer with a sentence."""
    return Response(sentence, status, mimetype="text/plain")


def accepted() -> Response:
    """Answer that what was asked for is kept and is being carried out."""
    return Response(status="202 Accepted")
