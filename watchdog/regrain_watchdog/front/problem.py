"""A request that ended without its answer, as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from msgspec import Struct

from regrain.errors import RequestError

MEDIA_TYPE = "application/problem+json"


class Problem(Struct, frozen=True, omit_defaults=True):
    """The members of the document. `stage` is "" (and left out) where the request reached none.

    There is no `type`: RFC 9457 reads its absence as "about:blank", "the status code says it all".
    """

    title: str
    status: int
    detail: str
    call_id: str = ""
    stage: str = ""


_encode = msgspec.json.Encoder().encode


def problem(error: RequestError, call_id: str) -> bytes:
    """Return the document that tells a caller why there is no answer."""
    return _encode(
        Problem(
            title=error.status.phrase,
            status=error.status.value,
            detail=error.detail,
            call_id=call_id,
            stage=error.stage,
        )
    )


def internal(call_id: str) -> RequestError:
    """The error for what should not have happened; the log has the rest under the call id."""
    return RequestError(
        HTTPStatus.INTERNAL_SERVER_ERROR, f"the server failed; its log says why, under call id {call_id}"
    )
