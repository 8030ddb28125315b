import json

import jsonschema
import pytest

from regrain.manifest import Parameter
from regrain_watchdog.front.openapi import document

TEXT = {"type": "string"}
PAGE = {
    "$ref": "#/$defs/Page",
    "$defs": {
        "Page": {
            "type": "object",
            "properties": {"lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}}},
        },
        "Line": TEXT,
    },
}


@pytest.fixture
def page(app_of):
    return document(
        app_of(
            Parameter(name="image", kind="bytes", schema=TEXT),
            Parameter(name="language", kind="str", schema=TEXT | {"default": "en"}, required=False),
            answer=Parameter(name="", kind="json", schema=PAGE),
        )
    )


def test_the_document_says_what_it_is(page):
    assert page["openapi"] == "3.1.0"
    assert page["info"]["title"] == "echo"
    assert set(page["paths"]) == {"/", "/_/health", "/_/ready"}


def test_every_reference_leads_somewhere(page):
    schemas = page["components"]["schemas"]
    text = json.dumps(page)

    assert set(schemas) == {"Problem", "Page", "Line"}
    assert "$defs" not in text
    for part in text.split('"$ref": "')[1:]:
        assert part.split('"')[0].removeprefix("#/components/schemas/") in schemas


def test_every_schema_is_one(page):
    body = page["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    for schema in [body, *page["components"]["schemas"].values()]:
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_body_by_parameter_name_fits_its_schema(page):
    body = page["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    jsonschema.validate({"image": "AHg=", "language": "de"}, body)
    for wrong in ({"language": "de"}, {"image": "AHg=", "more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, body)


def test_a_problem_fits_its_schema(page, serve):
    jsonschema.validate(serve().post().json, page["components"]["schemas"]["Problem"])


def test_strings_may_come_in_the_query(page):
    named = {item["name"]: item["in"] for item in page["paths"]["/"]["post"]["parameters"]}

    assert named == {"X-Call-Id": "header", "language": "query"}


@pytest.mark.parametrize(
    ("kind", "media"),
    [("bytes", "application/octet-stream"), ("str", "text/plain"), ("array", "application/x-npy")],
)
def test_bodies_and_answers_come_in_the_forms_that_are_served(app_of, kind, media):
    page = document(app_of(Parameter(name="x", kind=kind), answer=Parameter(name="", kind=kind)))
    call = page["paths"]["/"]["post"]

    assert media in call["requestBody"]["content"]
    assert media in call["responses"]["200"]["content"]


def test_an_app_of_raw_requests_promises_nothing(app_of):
    raw = Parameter(name="request", kind="request")
    call = document(app_of(raw, answer=Parameter(name="", kind="request")))["paths"]["/"]["post"]

    assert call["requestBody"]["content"] == {"*/*": {}}
    assert call["responses"]["200"]["content"] == {"*/*": {}}


def test_the_document_is_served(serve, app_of):
    assert serve().request("GET", "/_/openapi.json").json == document(app_of())


def test_types_of_one_name_are_told_apart_also_from_the_documents_own(app_of):
    def holding(name, kind):
        schema = {
            "$ref": "#/$defs/Outer",
            "$defs": {
                "Outer": {"type": "object", "properties": {"held": {"$ref": "#/$defs/Problem"}}},
                "Problem": {"type": kind},
            },
        }
        return Parameter(name=name, kind="json", schema=schema)

    page = document(
        app_of(holding("text", "string"), holding("number", "integer"), answer=holding("", "string"))
    )

    body = page["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    whole = body | {"components": page["components"]}
    right = {"text": {"held": "a"}, "number": {"held": 1}}
    jsonschema.validate(right, whole)
    for wrong in ({"text": {"held": 1}}, {"number": {"held": "a"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(right | wrong, whole)
    assert page["components"]["schemas"]["Problem"]["required"] == ["title", "status", "detail"]
    assert len(page["components"]["schemas"]) == 5
