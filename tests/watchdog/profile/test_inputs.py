"""The requests that an app is measured with."""

import pytest
from msgspec import structs

from regrain.errors import SpecError
from regrain.graph import Graph, Node, Ref
from regrain.manifest import Manifest, Parameter, Sample, StageSpec
from regrain.wire.codec import pack_inline, unpack_inline
from regrain_watchdog.profile.inputs import bodies

MANIFEST = Manifest(
    app="read",
    stages=(StageSpec(name="read", digest="a"),),
    graph=Graph(("image", "threshold"), (Node("read", (Ref("$image"), Ref("$threshold"))),), Ref("read")),
    parameters=(
        Parameter(name="image", kind="bytes"),
        Parameter(name="threshold", kind="json", required=False, default=pack_inline(0.5)),
    ),
    answer=Parameter(name="", kind="json"),
    sample=Sample(content_type="image/png", body=b"12345"),
)


def test_the_sample_and_files_come_in_order_of_size_with_defaults_filled_in(tmp_path):
    (tmp_path / "b.png").write_bytes(b"1234567")
    (tmp_path / "a.png").write_bytes(b"1")

    found, notes = bodies(MANIFEST, [tmp_path])

    assert [body.size for body in found] == [1, 5, 7]
    assert notes == []
    assert [unpack_inline(body.request.values["image"]) for body in found] == [b"1", b"12345", b"1234567"]
    assert {unpack_inline(body.request.values["threshold"]) for body in found} == {0.5}


def test_of_requests_of_one_size_the_first_stands_for_all_and_that_is_said(tmp_path):
    (tmp_path / "a.png").write_bytes(b"abcde")
    (tmp_path / "b.png").write_bytes(b"fghij")

    (found,), notes = bodies(MANIFEST, [tmp_path])

    assert unpack_inline(found.request.values["image"]) == b"12345"
    assert notes == ["2 of 3 inputs were left out: each has as many bytes as one before it"]


def test_an_app_without_a_sample_needs_an_input():
    with pytest.raises(SpecError, match=r"has no sample; give it one, or --input FILE"):
        bodies(structs.replace(MANIFEST, sample=None), [])


def test_a_file_that_the_app_would_refuse_is_named(tmp_path):
    (tmp_path / "wrong.json").write_text("{")

    with pytest.raises(SpecError, match=r"wrong\.json is no request of app 'read': the body is no JSON"):
        bodies(MANIFEST, [tmp_path / "wrong.json"])


def test_the_whole_request_goes_to_an_app_that_takes_one():
    raw = structs.replace(
        MANIFEST,
        graph=Graph(("event",), (Node("read", (Ref("$event"),)),), Ref("read")),
        parameters=(Parameter(name="event", kind="request"),),
    )

    (found,), _ = bodies(raw, [])

    event = unpack_inline(found.request.values["event"])
    assert (event.body, event.headers, event.method) == (b"12345", {"content-type": "image/png"}, "POST")
