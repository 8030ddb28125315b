"""CloudEvents in and out: both modes of the HTTP binding, and what is none."""

import base64
import json
from urllib.parse import quote, unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import RequestError
from regrain.manifest import Parameter
from regrain_watchdog.front.call import Reply
from regrain_watchdog.front.cloudevent import answer, is_event, read

STRUCTURED = "application/cloudevents+json"
EVENT = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "com.example.page", "subject": "page 3"}
BINARY = {"Ce_Specversion": "1.0", "Ce_Id": "7", "Ce_Source": "/shop", "Ce_Type": "com.example.page"}
TEXT = Parameter(name="text", kind="str", schema={"type": "string"})
NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)] + [
    chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)
]
texts = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters=NONCHARACTERS), min_size=1, max_size=50
)


def members(body):
    return json.loads(body)


def test_an_event_in_binary_mode_is_answered_by_one(serve):
    served = serve()
    told = served.post(b"\x89PNG", "image/png", **BINARY, Ce_Subject="page%203", X_Call_Id="call-1")

    assert (told.status, told.body) == (200, b"\x89PNG")
    assert {name: text for name, text in told.headers.items() if name.startswith("ce-")} == {
        "ce-specversion": "1.0",
        "ce-id": "call-1",
        "ce-source": "/echo",
        "ce-type": "com.example.page.answer",
        "ce-subject": "page%203",
    }
    assert told.headers["content-type"] == "application/octet-stream"


def test_a_structured_event_is_answered_by_one(serve, app_of):
    sent = {**EVENT, "datacontenttype": "text/plain", "data": "Grüße"}
    told = serve(app_of(TEXT)).post(json.dumps(sent).encode(), STRUCTURED, X_Call_Id="call-1")

    assert (told.status, told.headers["content-type"]) == (200, STRUCTURED)
    assert members(told.body) == {
        "specversion": "1.0",
        "id": "call-1",
        "source": "/echo",
        "type": "com.example.page.answer",
        "subject": "page 3",
        "datacontenttype": "text/plain; charset=utf-8",
        "data": "Grüße",
    }


def test_bytes_travel_as_base64(serve):
    sent = {**EVENT, "datacontenttype": "image/png", "data_base64": base64.b64encode(b"\x89PNG").decode()}
    told = serve().post(json.dumps(sent).encode(), f"{STRUCTURED}; charset=utf-8")

    assert members(told.body)["data_base64"] == sent["data_base64"]
    assert "data" not in members(told.body)


def test_json_travels_as_it_is_and_needs_no_content_type(serve, app_of):
    app = app_of(Parameter(name="order", kind="json"))
    told = serve(app).post(json.dumps({**EVENT, "data": {"a": [1, 2.5, None]}}).encode(), STRUCTURED)

    assert members(told.body)["data"] == {"a": [1, 2.5, None]}
    assert members(told.body)["datacontenttype"] == "application/json"


@pytest.mark.parametrize("structured", [True, False])
def test_stages_see_the_attributes_as_headers(serve, structured):
    served = serve()
    if structured:
        data = base64.b64encode(b"x").decode()
        sent = {**EVENT, "datacontenttype": "image/png", "data_base64": data, "attempt": 3, "last": True}
        served.post(json.dumps(sent).encode(), STRUCTURED)
    else:
        served.post(b"x", "image/png", **BINARY, Ce_Subject="page%203", Ce_Attempt="3", Ce_Last="true")
    seen = msgspec.msgpack.decode(served.service.calls[0].headers)

    assert (seen["ce-id"], seen["ce-type"], seen["ce-subject"]) == ("7", "com.example.page", "page%203")
    assert (seen["ce-attempt"], seen["ce-last"], seen["content-type"]) == ("3", "true", "image/png")


def test_a_failure_is_no_event(serve):
    async def behave(call):
        raise RequestError(503, "no room") from None

    told = serve(behave=behave).post(b"x", "image/png", **BINARY)

    assert told.headers["content-type"] == "application/problem+json"
    assert not any(name.startswith("ce-") for name in told.headers)


@pytest.mark.parametrize("status", [404, 303])
def test_a_stages_own_failure_is_no_event(serve, status):
    async def behave(call):
        return Reply(value="nothing", status=status)

    told = serve(behave=behave).post(b"x", "image/png", **BINARY)

    assert (told.status, told.body) == (status, b"nothing")
    assert "ce-id" not in told.headers


def test_what_is_no_event_is_answered_as_before(serve):
    told = serve().post(b"x", "image/png", Ce_Id="7")

    assert told.status == 200
    assert not any(name.startswith("ce-") for name in told.headers)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"specversion": "0.3"}, "specversion of an event must be 1.0, was '0.3'"),
        ({"specversion": None}, "specversion of an event must be 1.0, was ''"),
        ({"id": ""}, "id is missing"),
        ({"source": None}, "source is missing"),
        ({"type": ""}, "type is missing"),
        ({"Trace": "a"}, "named by a-z and 0-9, not 'Trace'"),
        ({"a": {"b": 1}}, "'a' of an event must be text"),
        ({"subject": "a\r\nX: b"}, "subject must have up to 4096 characters, none for control"),
        ({"subject": "a\x7f"}, "none for control"),
        ({"subject": "a\x85"}, "none for control"),
        ({"subject": "a\ufdd0"}, "none for control"),
        ({"subject": "a\U0010ffff"}, "none for control"),
        ({"subject": "a" * 4097}, "subject must have up to 4096 characters"),
        ({f"a{n}": "x" for n in range(70)}, "up to 64 attributes"),
        ({"data": "x", "data_base64": "eA=="}, "data or data_base64, not both"),
        ({"data_base64": "ü"}, "data_base64 is no base64"),
        ({"data_base64": "x"}, "data_base64 is no base64"),
        ({"datacontenttype": "text/plain", "data": {"a": 1}}, "'data' of an event must be text"),
    ],
)
def test_a_structured_event_that_is_none_is_refused(serve, changed, said):
    served = serve()
    told = served.post(json.dumps({**EVENT, **changed}).encode(), STRUCTURED)

    assert told.status == 400
    assert said in told.json["detail"]
    assert not served.service.calls


@pytest.mark.parametrize(
    ("body", "media", "status", "said"),
    [
        (b"[]", STRUCTURED, 400, "an event is a JSON object"),
        (b"{", STRUCTURED, 400, "an event is a JSON object"),
        (b"\xff", STRUCTURED, 400, "an event is a JSON object"),
        pytest.param(
            b'{"data":' + b"[" * 100_000, STRUCTURED, 400, "an event is a JSON object", id="too deep"
        ),
        (b"", STRUCTURED, 400, "an event is a JSON object"),
        (b"[]", "application/cloudevents-batch+json", 415, "an event alone as application/cloudevents+json"),
        (b"<a/>", "application/cloudevents+xml", 415, "an event alone as application/cloudevents+json"),
    ],
)
def test_a_body_that_holds_no_event_is_refused(serve, body, media, status, said):
    told = serve().post(body, media)

    assert told.status == status
    assert said in told.json["detail"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Ce_Specversion", "2"),
        ("Ce_Id", ""),
        ("Ce_Subject", "a%0d%0ab"),
        ("Ce_Subject", "a%00"),
        ("Ce_Subject", "a%EF%BF%BE"),
    ],
)
def test_a_binary_event_that_is_none_is_refused(serve, name, text):
    assert serve().post(b"x", "image/png", **{**BINARY, name: text}).status == 400


def test_handlers_of_raw_requests_get_events_as_they_come(serve, app_of):
    app = app_of(Parameter(name="image", kind="request"), answer=Parameter(name="", kind="request"))

    async def behave(call):
        return Reply(value=call.values["image"].body)

    body = json.dumps(EVENT).encode()
    told = serve(app, behave=behave).post(body, STRUCTURED)

    assert (told.status, told.body) == (200, body)


@pytest.mark.parametrize(
    "text",
    [
        "page\u00a03",
        "頁\u30003",
        "👩\u200d👧",
        "a\u2028b",
        "\u202ea",
        "a\ue000",
        "\ufffd",
        "\U000e0001",
        "a\u0378",
    ],
)
def test_an_attribute_may_have_every_character_that_is_one(serve, text):
    body = json.dumps(
        {**EVENT, "subject": text, "datacontenttype": "image/png", "data_base64": "eA=="}
    ).encode()
    structured = serve().post(body, STRUCTURED)
    binary = serve().post(b"x", "image/png", **BINARY, Ce_Subject=quote(text))

    assert (structured.status, members(structured.body)["subject"]) == (200, text)
    assert (binary.status, unquote(binary.headers["ce-subject"])) == (200, text)


@given(texts, texts, st.binary(min_size=1))
def test_what_is_sent_in_either_mode_is_read_the_same(subject, kind, data):
    attributes = {**EVENT, "subject": subject, "type": kind}
    coded = base64.b64encode(data).decode()
    body = json.dumps({**attributes, "datacontenttype": "image/png", "data_base64": coded}).encode()
    event, headers, found = read({"content-type": STRUCTURED}, body)
    again, _, same = read({**headers, "ce-specversion": "1.0"}, found)

    assert (found, same) == (data, data)
    assert again.attributes == event.attributes
    assert headers["ce-subject"].isascii()


@given(texts, st.binary(min_size=1), st.sampled_from(["image/png", "text/plain", "application/json"]))
def test_every_answer_is_an_event_that_can_be_read(subject, content, media):
    if media != "image/png":
        content = json.dumps(content.hex()).encode()
    event, _, _ = read({"content-type": STRUCTURED}, json.dumps({**EVENT, "subject": subject}).encode())
    _, headers, body = answer(event, "echo", "call-1", (200, [("content-type", media)], content))

    assert is_event(dict(headers))
    told, _, found = read(dict(headers), body)
    assert found == content
    assert told.attributes == {
        "id": "call-1",
        "source": "/echo",
        "type": "com.example.page.answer",
        "subject": subject,
    }


@pytest.mark.parametrize("media", ["Application/CloudEvents+JSON", "APPLICATION/CLOUDEVENTS"])
def test_a_media_type_is_the_same_in_any_case(media):
    assert is_event({"content-type": media})


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ('"page 3"', "page 3"),
        (r'"page \"3\" \\"', 'page "3" \\'),
        ('"page%203"', "page 3"),
        ('""', ""),
        ('page "3"', 'page "3"'),
        ('"page', '"page'),
    ],
)
def test_an_attribute_may_be_in_double_quotes(sent, meant):
    """HTTP binding 3.1.3.2: they are undone before the percent-encoding is."""
    headers = {f"ce-{name}": text for name, text in {**EVENT, "subject": sent}.items()}

    event, shown, _ = read(headers, b"")

    assert event.attributes["subject"] == meant
    assert unquote(shown["ce-subject"]) == meant
