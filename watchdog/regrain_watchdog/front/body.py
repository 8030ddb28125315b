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


async def read(
    proto: Exchange, headers: Mapping[str, str], *, limit: int, timeout: float, is_set: bool = True
) -> bytes:
    """Return the body.

    is_set: whether the limits are settings, which are named where the body is beyond them.

    Raises:
        RequestError: 413 over `limit` bytes, 408 after `timeout` seconds, 400 if it breaks off.
    """
    length = headers.get("content-length")
    if length is not None and int(length) > limit:
        raise _too_large(limit, is_set=is_set)
    whole = proto.arrived()
    if whole is not None:
        if len(whole) > limit:
            raise _too_large(limit, is_set=is_set)
        return whole
    try:
        async with asyncio.timeout(timeout):
            if length is not None:
                return await proto()
            return await _chunked(proto, limit, is_set=is_set)
    except CallerGoneError as error:  # its connection may still be open for our answer
        raise _broken_off() from error
    except TimeoutError as error:
        detail = f"the body did not arrive within {timeout:g} s" + (
            " (REGRAIN_BODY_TIMEOUT)" if is_set else ""
        )
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail, headers={"connection": "close"}) from error


async def _chunked(proto: Exchange, limit: int, *, is_set: bool) -> bytes:
    chunks = bytearray()
    async for chunk in proto:
        chunks += chunk
        if len(chunks) > limit:
            raise _too_large(limit, is_set=is_set)
    return bytes(chunks)


def _broken_off() -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, "the body broke off", headers={"connection": "close"})


def _too_large(limit: int, *, is_set: bool) -> RequestError:
    detail = f"the body has more than {limit} bytes" + (" (REGRAIN_MAX_BODY)" if is_set else "")
    return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers={"connection": "close"})
