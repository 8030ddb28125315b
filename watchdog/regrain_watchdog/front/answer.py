"""Replies become responses: status, headers and body, in a form that the caller accepts.

bytes go out as application/octet-stream, str as text/plain, everything else as JSON; arrays also as .npy
where the caller asks for it. In JSON, bytes are base64, arrays nested lists, and NaN and infinities null.
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus

import msgspec
import numpy as np

from regrain.errors import RequestError
from regrain.manifest import Parameter
from regrain.media import EVENTS, LINES
from regrain_watchdog.front import npy
from regrain_watchdog.front.call import Reply
from regrain_watchdog.front.http1.response import CONNECTION, OURS, TOKEN

JSON = "application/json"
TEXT = "text/plain"
BYTES = "application/octet-stream"
NPY = npy.MEDIA_TYPES[0]
OFFERS: dict[str, tuple[str, ...]] = {
    "bytes": (BYTES, JSON),
    "str": (TEXT, JSON),
    "array": (JSON, NPY),
    "json": (JSON,),
}
"""What an answer of each kind can be sent as, the first by default."""
STREAMED = (LINES, EVENTS, JSON)
"""What a streamed answer can be sent as; as JSON it is collected into a list."""
ANYTHING = (JSON, TEXT, BYTES, NPY)
FRAMING = OURS | {CONNECTION}
"""Headers that belong to the connection; those of a stage are left out."""
CONTROLS = frozenset("\r\n\0")
STATUSES = range(200, 600)
BUFFERS = (bytes, bytearray, memoryview)

Headers = list[tuple[str, str]]
Response = tuple[int, Headers, bytes]


class Answers:
    """Writes the answers of an app.

    Args:
        answer: what the flow answers, from the manifest.
        streams: whether that is one item of a stream.
    """

    def __init__(self, answer: Parameter, *, streams: bool = False) -> None:
        self._raw = answer.kind == "request"
        untyped = answer.kind == "json" and not answer.schema
        offers = ANYTHING if self._raw or untyped else OFFERS[answer.kind]
        self._offers = STREAMED if streams else offers

    def check(self, accept: str) -> None:
        """Refuse (406) a request before it runs, if its answer could not be sent in a form it accepts."""
        if not self._raw and accept and choose(accept, self._offers) is None:
            raise _unacceptable(self._offers)

    def render(self, reply: Reply, accept: str, *, is_other: bool = False) -> Response:
        """Return the response; RequestError 406, or 500 where the answer cannot be sent at all.

        is_other: whether its caller asked for something else, and takes this in its usual form if in no other.
        """
        value, status, given = reply.value, reply.status, reply.headers
        if self._raw and isinstance(value, dict) and value.keys() == {"body", "status", "headers"}:
            value, status, given = value["body"], value["status"], value["headers"]
        if not isinstance(status, int) or status not in STATUSES:
            raise _broken(f"it has status {status!r}, allowed are {STATUSES.start} to {STATUSES.stop - 1}")
        headers = _headers(given) if given else []
        if headers and (chosen := next((text for name, text in headers if name == "content-type"), "")):
            return status, headers, _as_is(value, chosen)
        offers = _offers(value)
        media = choose(accept, offers) if accept else offers[0]
        if media is None:
            if not is_other:
                raise _unacceptable(offers)
            media = offers[0]
        headers.append(("content-type", "text/plain; charset=utf-8" if media is TEXT else media))
        return status, headers, _encode(value, media)


@lru_cache(maxsize=256)
def choose(accept: str, offers: tuple[str, ...]) -> str | None:
    """Return the offer that an Accept header likes best, the first of equals; None if it takes none."""
    ranges = [_range(text) for text in accept.split(",") if text.strip()]
    best, found = 0.0, None
    for offer in offers:
        fitting = [(len(media.rstrip("*")), weight) for media, weight in ranges if _fits(offer, media)]
        weight = max(fitting)[1] if fitting else 0.0  # the most specific range that fits decides
        if weight > best:
            best, found = weight, offer
    return found


def _range(text: str) -> tuple[str, float]:
    media, *settings = (part.strip().lower() for part in text.split(";"))
    weight = next((setting[2:] for setting in settings if setting.startswith("q=")), "1")
    try:
        return media, float(weight)
    except ValueError:
        return media, 0.0


def _fits(offer: str, media: str) -> bool:
    return media in ("*/*", "*", offer) or (media.endswith("/*") and offer.startswith(media[:-1]))


def _offers(value: object) -> tuple[str, ...]:
    if isinstance(value, BUFFERS):
        return OFFERS["bytes"]
    if isinstance(value, str):
        return OFFERS["str"]
    return OFFERS["array"] if isinstance(value, np.ndarray) else OFFERS["json"]


def _as_is(value: object, chosen: str) -> bytes:
    """The value as a body of a type that the stage chose, to which bytes and text are given as they are."""
    if isinstance(value, BUFFERS):
        return bytes(value)
    return value.encode() if isinstance(value, str) else _encode(value, chosen)


def _encode(value: object, media: str) -> bytes:
    if isinstance(value, BUFFERS) and media != JSON:
        return bytes(value)
    if isinstance(value, str) and media != JSON:
        return value.encode()
    try:
        return npy.write(value) if media == NPY and isinstance(value, np.ndarray) else _encode_json(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _broken(str(error)) from error


def _plain(value: object) -> object:
    """What JSON has for the values that only Python has."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"JSON has no {type(value).__name__}")


def to_json(value: object) -> bytes:
    """Return a value as JSON in one line; RequestError 500 where JSON has nothing for it."""
    return _encode(value, JSON)


_encode_json = msgspec.json.Encoder(enc_hook=_plain).encode


def _headers(given: object) -> Headers:
    if not isinstance(given, dict):
        raise _broken(f"its headers must be a dict, were {type(given).__name__}")
    named = [(str(name).lower(), str(text)) for name, text in given.items()]
    for name, text in named:
        if not TOKEN.fullmatch(name) or not CONTROLS.isdisjoint(text):
            raise _broken(
                f"its header {name!r} must have a name of letters, digits and - and text on one line"
            )
    return [(name, text) for name, text in named if name not in FRAMING]


def _unacceptable(offers: tuple[str, ...]) -> RequestError:
    return RequestError(
        HTTPStatus.NOT_ACCEPTABLE, f"Accept allows none of what there is: {', '.join(offers)}"
    )


def _broken(why: str) -> RequestError:
    return RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"the app's answer cannot be sent: {why}")
