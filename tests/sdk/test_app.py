"""An app: its objective, its flow and its manifest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import pytest

from regrain import SLO, App, GrainError, Request, Response, SpecError, Tensor, TraceError
from regrain.manifest import Parameter, Sample, SLOSpec, TensorSpec, dumps, loads
from regrain.wire.codec import unpack_inline


@dataclass(frozen=True)
class Page:
    text: str


def pipeline(name="ocr", **options) -> App:
    """Two stages and a flow."""
    app = App(name, **options)

    @app.stage()
    def decode(image: bytes, scale: float) -> list[int]:
        return list(image)

    @app.stage()
    def read(pixels: list[int]) -> Page:
        return Page("".join(map(chr, pixels)))

    @app.flow
    def flow(image: bytes, scale: float = 2.0) -> Page:
        """Read a page.

        However small.
        """
        return read(decode(image, scale))

    return app


def flow_through(stage):
    """A flow of one stage, without types."""

    def flow(image):
        return stage(image)

    return flow


def test_the_manifest_is_all_that_the_front_needs_to_know():
    app = pipeline(slo=SLO(latency=0.8, attainment=0.9), sample=b"page", grain="decode | read")

    manifest = app.manifest()

    assert (manifest.app, manifest.grain, manifest.doc) == ("ocr", "decode | read", "Read a page.")
    assert manifest.slo == SLOSpec(latency=0.8, attainment=0.9)
    assert manifest.sample == Sample(content_type="application/octet-stream", body=b"page")
    assert [spec.name for spec in manifest.stages] == ["decode", "read"]
    assert manifest.graph == app.graph
    image, scale = manifest.parameters
    assert image == Parameter(name="image", kind="bytes", schema=image.schema)
    assert (scale.kind, scale.required, unpack_inline(scale.default)) == ("json", False, 2.0)
    assert (manifest.answer.name, manifest.answer.kind) == ("", "json")
    assert loads(dumps(manifest)) == manifest


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"app": "\xff"}'])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(msgspec.DecodeError):
        loads(data)


def test_an_app_may_say_nothing_but_its_flow():
    manifest = pipeline().manifest()

    assert (manifest.slo, manifest.sample, manifest.grain) == (None, None, "coarse")


def test_types_are_those_of_the_flow_and_unknown_where_it_has_none():
    app = pipeline()

    assert app.annotations == {"image": bytes, "scale": float}
    assert app.returns is Page

    bare = App("bare")
    stage = bare.stage(name="stage")(lambda value: value)
    bare.flow(flow_through(stage))
    assert (bare.annotations, bare.returns) == ({}, None)
    assert bare.manifest().parameters[0].kind == "json"


def test_an_array_says_its_dtype_and_shape():
    app = App("vision")

    @app.stage()
    def total(batch: np.ndarray) -> float:
        return float(batch.sum())

    @app.flow
    def flow(batch: Annotated[np.ndarray, Tensor("FP32", (-1, 3, 8, 8))]) -> float:
        return total(batch)

    (parameter,) = app.manifest().parameters
    assert (parameter.kind, parameter.tensor) == ("array", TensorSpec(datatype="FP32", shape=(-1, 3, 8, 8)))


def test_the_digest_changes_with_a_stage_or_the_graph_and_with_nothing_else():
    digest = pipeline().manifest().digest

    assert len(digest) == 16
    assert pipeline("other", slo=SLO(latency=1), sample=b"x").manifest().digest == digest

    app = App("ocr")
    decode = app.stage()(pipeline().stages["decode"].body)
    app.flow(lambda image: decode(image, 2.0))
    one = app.manifest().digest
    app = App("ocr")
    decode = app.stage()(pipeline().stages["decode"].body)
    app.flow(lambda image: decode(image, 3.0))
    assert len({digest, one, app.manifest().digest}) == 3


def test_a_sample_is_found_beside_the_file_of_the_app(tmp_path):
    (tmp_path / "page.png").write_bytes(b"png")
    file = tmp_path / "app.py"
    code = compile("from regrain import App\napp = App('found', sample='page.png')", str(file), "exec")
    space: dict[str, object] = {}
    exec(code, space)
    app = space["app"]
    assert isinstance(app, App)
    stage = app.stage(name="same")(lambda image: image)
    app.flow(flow_through(stage))

    assert app.manifest().sample == Sample(content_type="image/png", body=b"png")


def test_a_sample_that_is_not_there_is_named_with_where_it_was_looked_for():
    app = pipeline(sample="gone.png")

    with pytest.raises(SpecError, match=r"sample 'gone\.png' cannot be read: No such file") as caught:
        app.manifest()
    assert str(Path(__file__).with_name("gone.png")) in str(caught.value)


def test_a_sample_by_parameter_names_only_parameters_of_the_flow():
    assert pipeline(sample={"scale": 3.0}).manifest().sample == Sample(
        content_type="application/json", body=b'{"scale":3.0}'
    )
    with pytest.raises(SpecError, match="the sample gives 'size'; parameters of the flow are image, scale"):
        pipeline(sample={"scale": 3.0, "size": 2}).manifest()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "My App"}, "name of an app is a-z, 0-9 and -, at most 63 of them, was 'My App'"),
        ({"name": ""}, "was ''"),
        ({"name": "-x"}, "was '-x'"),
        ({"name": "x" * 64}, "at most 63"),
        ({"name": 3}, "was 3"),
        ({"slo": 0.8}, r"slo must be SLO\(latency=\.\.\.\), was 0.8"),
        ({"sample": 3}, "sample must be a path, bytes or a dict, was 3"),
        ({"grain": None}, 'grain must be "fine", "coarse" or groups such as .* was None'),
        ({"path": "predict"}, "path must be such as '/predict': .* was 'predict'"),
        ({"path": "/predict?x=1"}, "words of letters"),
        ({"path": "/a/"}, "was '/a/'"),
        ({"path": "/" + "a" * 256}, "256 bytes at most"),
        ({"path": None}, "was None"),
        ({"path": "/_/health"}, "path must not begin with _, v2, which are served, was '/_/health'"),
        ({"path": "/v2/models"}, "was '/v2/models'"),
        ({"path": "/../x"}, r"path must have no word \. or \.\., .* was '/\.\./x'"),
        ({"path": "/a/./b"}, r"was '/a/\./b'"),
        ({"path": "/a/.."}, r"was '/a/\.\.'"),
    ],
)
def test_an_app_refuses_nonsense(arguments, says):
    with pytest.raises(SpecError, match=says):
        App(**{"name": "ocr", **arguments})


@pytest.mark.parametrize("path", ["/", "/predict", "/api/v1/predict_it.json"])
def test_an_app_is_called_at_its_path(path):
    assert pipeline(path=path).manifest().path == path


def test_a_path_of_its_own_is_refused_where_the_flow_gets_every_path():
    app = App("raw", path="/predict")

    @app.stage()
    def handle(request: Request) -> Response:
        return Response(200, b"")

    @app.flow
    def flow(request: Request) -> Response:
        return handle(request)

    with pytest.raises(SpecError, match="path '/predict' is for flows with parameters"):
        app.manifest()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"latency": 0}, "latency must be seconds over 0, was 0"),
        ({"latency": -1.0}, "was -1.0"),
        ({"latency": float("inf")}, "was inf"),
        ({"latency": "300ms"}, "was '300ms'"),
        ({"latency": 1, "attainment": 0}, r"attainment must be in \(0, 1\], was 0"),
        ({"latency": 1, "attainment": 95}, r"attainment must be in \(0, 1\], was 95"),
    ],
)
def test_an_objective_refuses_nonsense(arguments, says):
    with pytest.raises(SpecError, match=says):
        SLO(**arguments)


def test_a_grain_that_is_none_of_the_app_is_refused_when_the_flow_is_declared():
    with pytest.raises(GrainError, match="grain 'decode': read left out"):
        pipeline(grain="decode")


def test_an_app_has_one_flow():
    app = pipeline()

    with pytest.raises(
        TraceError, match=rf"^{__file__}:\d+: app 'ocr' has a flow already, at {__file__}:\d+"
    ):
        app.flow(flow_through(app.stages["read"]))


def test_an_app_without_a_flow_says_so():
    for ask in (App.manifest, lambda app: app.graph, lambda app: app.annotations, lambda app: app.returns):
        with pytest.raises(SpecError, match=r"app 'empty' has no flow; declare one by @app\.flow"):
            ask(App("empty"))


def test_a_stage_after_the_flow_is_refused_since_the_flow_cannot_call_it():
    app = pipeline()

    with pytest.raises(
        TraceError, match=r"stage 'late' is declared after the flow at .*declare stages before"
    ):
        app.stage(name="late")(lambda value: value)
    assert "late" not in app.stages


def test_a_flow_that_cannot_be_traced_leaves_the_app_without_one():
    app = App("broken")
    app.stage(name="read")(lambda value: value)

    with pytest.raises(TraceError):
        app.flow(lambda image: image)
    with pytest.raises(SpecError, match="has no flow"):
        app.manifest()


def test_a_type_of_the_flow_that_cannot_be_resolved_fails_in_the_manifest():
    app = App("unresolved")
    stage = app.stage(name="stage")(lambda value: value)

    @app.flow
    def flow(image: "Missing") -> int:  # noqa: F821
        return stage(image)

    with pytest.raises(
        SpecError, match=r"flow: its annotations cannot be resolved: name 'Missing' is not defined"
    ):
        app.manifest()


def test_a_default_that_cannot_travel_fails_in_the_manifest():
    app = App("defaults")
    stage = app.stage(name="stage")(lambda value: value)

    @app.flow
    def flow(image=frozenset()):
        return stage(image)

    with pytest.raises(SpecError, match=r"the default of parameter 'image' cannot travel: .*frozenset"):
        app.manifest()


def test_an_app_shows_its_name_and_stages():
    assert repr(pipeline()) == "<App 'ocr': decode, read>"
