"""CloudEvents 1.0 over HTTP: an event's data is what a flow is called with, and its answer is an event again.

In binary mode the attributes are headers `ce-...` and the body is the data; in structured mode the body is JSON
(application/cloudevents+json) that holds both. An event is answered in the mode that it came in. Stages see the
attributes as headers in both.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, unquote

import msgspec

from regrain.errors import RequestError
from regrain_watchdog.front.answer import JSON, Headers, Response

PREFIX = "ce-"
VERSION = f"{PREFIX}specversion"
FAMILY = "application/cloudevents"
STRUCTURED = f"{FAMILY}+json"
CONTENT_TYPE = "content-type"
REQUIRED = ("id", "source", "type")
NAME = re.compile(r"[a-z0-9]{1,64}")
ATTRIBUTES = 64
"""Attributes of an event at most."""
LENGTH = 4096
"""Characters of an attribute's value at most."""
PLAIN = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""What stays as it is in a header beside letters and digits: printable ASCII but space, quotation mark and per cent."""
_NONCHARACTERS = r"\ufdd0-\ufdef" + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(17))
REFUSED = re.compile(rf"[\x00-\x1f\x7f-\x9f\ud800-\udfff{_NONCHARACTERS}]")
"""What no attribute's text may have (CloudEvents 1.0, type String): control characters, surrogates, noncharacters."""
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
"""A header's value in double quotes (RFC 9110, 5.6.4)."""
ESCAPED = re.compile(r"\\(.)")
ANSWERS = range(200, 300)
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_scalars = msgspec.json.Decoder(str | bool | int | None)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it came: its attributes but version and content type, and its mode."""

    attributes: Mapping[str, str]
    structured: bool


def is_event(headers: Mapping[str, str]) -> bool:
    """Whether a request is an event, or claims to be one."""
    return VERSION in headers or headers.get(CONTENT_TYPE, "").lower().startswith(FAMILY)


def read(headers: dict[str, str], sent: bytes) -> tuple[Event, dict[str, str], bytes]:
    """Return an event, and headers and body of the request that its data are; RequestError (400, 415)."""
    media = headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if not media.startswith(FAMILY):
        found = {name: _bare(text) for name, text in headers.items() if name.startswith(PREFIX)}
        attributes = {name.removeprefix(PREFIX): unquote(text) for name, text in found.items()}
        return _checked(attributes, structured=False), {**headers, **found}, sent
    if media != STRUCTURED:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"an event alone as {STRUCTURED} is taken, this is {media}"
        )
    try:
        members = _objects.decode(sent)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _bad(f"an event is a JSON object: {error}") from error
    content_type = _text(members.pop("datacontenttype", None), "datacontenttype") or JSON
    data = _data(members, content_type)
    event = _checked(
        {name: text for name, raw in members.items() if (text := _text(raw, name))}, structured=True
    )
    shown = {f"{PREFIX}{name}": quote(text, safe=PLAIN) for name, text in event.attributes.items()}
    return event, {**headers, **shown, CONTENT_TYPE: content_type}, data


def answer(event: Event, app: str, call_id: str, response: Response) -> Response:
    """Return the response to an event as an event, if it is an answer and has content.

    It is of the app (source), says its call (id), and has the type that it answers with `.answer` behind it.
    """
    status, headers, content = response
    if status not in ANSWERS or not content:
        return response
    attributes = {
        "specversion": "1.0",
        "id": call_id,
        "source": f"/{app}",
        "type": f"{event.attributes['type']}.answer",
    }
    if "subject" in event.attributes:
        attributes["subject"] = event.attributes["subject"]
    if not event.structured:
        shown = [(f"{PREFIX}{name}", quote(text, safe=PLAIN)) for name, text in attributes.items()]
        return status, [*headers, *shown], content
    media = next((text for name, text in headers if name == CONTENT_TYPE), JSON)
    kept: Headers = [(name, text) for name, text in headers if name != CONTENT_TYPE]
    body = _encode({**attributes, "datacontenttype": media, **_member(media, content)})
    return status, [*kept, (CONTENT_TYPE, STRUCTURED)], body


def _bare(text: str) -> str:
    """Return a header's value out of double quotes, if it is in some; that goes before percent-encoding."""
    quoted = QUOTED.fullmatch(text)
    return ESCAPED.sub(r"\1", quoted[1]) if quoted is not None else text


def _checked(attributes: dict[str, str], *, structured: bool) -> Event:
    version = attributes.pop("specversion", "")
    if version != "1.0":
        raise _bad(f"the specversion of an event must be 1.0, was {version!r}")
    for name in REQUIRED:
        if not attributes.get(name):
            raise _bad(f"an event has the attributes {', '.join(REQUIRED)}; {name} is missing")
    if len(attributes) > ATTRIBUTES:
        raise _bad(f"an event has up to {ATTRIBUTES} attributes, this one has {len(attributes)}")
    for name, text in attributes.items():
        if not NAME.fullmatch(name):
            raise _bad(f"an attribute of an event is named by a-z and 0-9, not {name[:64]!r}")
        if len(text) > LENGTH or REFUSED.search(text):
            raise _bad(f"the attribute {name} must have up to {LENGTH} characters, none for control")
    return Event(attributes, structured)


def _data(members: dict[str, msgspec.Raw], content_type: str) -> bytes:
    """Take an event's data out of its members, as the bytes that they are."""
    data, coded = members.pop("data", None), members.pop("data_base64", None)
    if data is not None and coded is not None:
        raise _bad("an event has data or data_base64, not both")
    if coded is not None:
        try:
            return base64.b64decode(_text(coded, "data_base64"), validate=True)
        except ValueError as error:
            raise _bad(f"data_base64 is no base64: {error}") from error
    if data is None:
        return b""
    found = bytes(data)
    return found if _is_json(content_type) else _text(data, "data").encode()


def _member(media: str, content: bytes) -> dict[str, object]:
    """Return the member of a structured event that holds its data."""
    if _is_json(media):
        return {"data": msgspec.Raw(content)}
    if media.startswith("text/"):
        return {"data": content.decode(errors="replace")}
    return {"data_base64": base64.b64encode(content).decode()}


def _is_json(media: str) -> bool:
    kind = media.partition(";")[0].strip().lower()
    return kind == JSON or kind.endswith("+json")


def _text(raw: msgspec.Raw | None, name: str) -> str:
    """Return a member as text, as headers have it; "" for none."""
    if raw is None:
        return ""
    try:
        value = _scalars.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _bad(f"{name[:64]!r} of an event must be text: {error}") from error
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _bad(detail: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, detail)
