import shlex

import msgspec
import pytest

from regrain.manifest import Manifest, Parameter, Sample
from regrain_watchdog.cli.curl import example

URL = "http://127.0.0.1:8080"


def an_app(manifest: Manifest, *parameters: Parameter, sample: Sample | None = None) -> Manifest:
    return msgspec.structs.replace(manifest, parameters=parameters, sample=sample)


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("bytes", "curl -H 'Content-Type: image/png' --data-binary @FILE"),
        ("array", "curl -H 'Content-Type: application/x-npy' --data-binary @FILE.npy"),
        ("str", "curl -H 'Content-Type: text/plain' -d TEXT"),
        ("request", "curl"),
        ("json", """curl -H 'Content-Type: application/json' -d '{"x": "..."}'"""),
    ],
)
def test_the_command_suits_the_one_parameter(ocr, kind, command):
    app = an_app(
        ocr, Parameter(name="x", kind=kind), sample=Sample(content_type="image/png", body=b"\x89PNG")
    )

    assert example(app, URL) == f"{command} {URL}"


def test_the_command_asks_the_apps_own_path(ocr):
    app = msgspec.structs.replace(an_app(ocr, Parameter(name="name", kind="str")), path="/predict")

    assert example(app, URL) == f"curl -H 'Content-Type: text/plain' -d TEXT {URL}/predict"


def test_a_short_json_sample_is_shown_as_it_is(ocr):
    sample = Sample(content_type="application/json", body=b'{"name":"it\'s"}')

    words = shlex.split(example(an_app(ocr, Parameter(name="name", kind="str"), sample=sample), URL))

    assert words == ["curl", "-H", "Content-Type: application/json", "-d", '{"name":"it\'s"}', URL]


def test_several_parameters_make_a_form(ocr):
    app = an_app(ocr, Parameter(name="image", kind="bytes"), Parameter(name="n", kind="json"))

    assert example(app, URL) == f"curl -F image=@FILE -F 'n=JSON;type=application/json' {URL}"


def test_without_required_parameters_an_empty_post_will_do(ocr):
    assert (
        example(an_app(ocr, Parameter(name="n", kind="json", required=False)), URL) == f"curl -X POST {URL}"
    )
