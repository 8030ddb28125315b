"""The apps that pictures are drawn of."""

import pytest

from regrain.graph import Graph, Node, Ref
from regrain.manifest import GPUSpec, Manifest, Parameter, SLOSpec, StageSpec


@pytest.fixture(scope="session")
def ocr() -> Manifest:
    """Six stages, a skip from decode to crop, two maps."""
    nodes = (
        Node("decode", (Ref("$image"),)),
        Node("detect", (Ref("decode"),)),
        Node("crop", (Ref("decode"), Ref("detect"))),
        Node("orient", (Ref("crop"),), mapped=True),
        Node("recognise", (Ref("orient"),), mapped=True),
        Node("assemble", (Ref("recognise"),)),
    )
    options = {
        "orient": StageSpec(name="orient", digest="", batched=True, max_size=16, max_wait=0.003),
        "recognise": StageSpec(
            name="recognise",
            digest="",
            batched=True,
            max_size=32,
            max_wait=0.005,
            gpu=GPUSpec(memory=1 << 30),
        ),
    }
    return Manifest(
        app="ocr",
        stages=tuple(options.get(node.stage, StageSpec(name=node.stage, digest="")) for node in nodes),
        graph=Graph(("image",), nodes, Ref("assemble")),
        parameters=(Parameter(name="image", kind="bytes"),),
        answer=Parameter(name="", kind="json"),
        slo=SLOSpec(latency=0.8, attainment=0.95),
    )


@pytest.fixture(scope="session")
def diamond() -> Manifest:
    """Two branches and a join that takes a second input."""
    nodes = (
        Node("prepare", (Ref("$image"),)),
        Node("classify", (Ref("prepare"),)),
        Node("segment", (Ref("prepare"),)),
        Node("join", (Ref("classify", ("label",)), Ref("segment")), {"threshold": Ref("$threshold")}),
    )
    return Manifest(
        app="vision",
        stages=tuple(StageSpec(name=node.stage, digest="") for node in nodes),
        graph=Graph(("image", "threshold"), nodes, Ref("join")),
        parameters=(Parameter(name="image", kind="array"), Parameter(name="threshold", kind="json")),
        answer=Parameter(name="", kind="json"),
    )
