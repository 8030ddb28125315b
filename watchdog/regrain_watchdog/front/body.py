"""A request's body, read whole within a limit and a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front.handler import CallerGoneError, Exchange


def is_empty(headers: Mapping[str, str]) -> bool:
    """Whether a request says that it has no body, so that none needs to be awaited."""
    return headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers


async def read(proto: Exchange, headers: Mapping[str, str], *, limit: int, timeout: float) -> bytes:
    """Return the body.

    Raises:
        RequestError: 413 over `limit` bytes, 408 after `timeout` seconds, 400 if it breaks off.
    """
    length = headers.get("content-length")
    if length is not None and int(length) > limit:
        raise _too_large(limit)
    whole = proto.arrived()
    if whole is not None:
        if len(whole) > limit:
            raise _too_large(limit)
        return whole
    try:
        async with asyncio.timeout(timeout):
            if length is not None:
                return await proto()
            return await _chunked(proto, limit)
    except CallerGoneError as error:  # its connection may still be open for our answer
        raise _broken_off() from error
    except TimeoutError as error:
        detail = f"the body did not arrive within {timeout:g} s (REGRAIN_BODY_TIMEOUT)"
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail, headers={"connection": "close"}) from error


async def _chunked(proto: Exchange, limit: int) -> bytes:
    chunks = bytearray()
    async for chunk in proto:
        chunks += chunk
        if len(chunks) > limit:
            raise _too_large(limit)
    return bytes(chunks)


def _broken_off() -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, "the body broke off", headers={"connection": "close"})


def _too_large(limit: int) -> RequestError:
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body has more than {limit} bytes (REGRAIN_MAX_BODY)",
        headers={"connection": "close"},
    )
