"""Run the command in this process, and the apps that pictures are drawn of."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from regrain.graph import Graph, Node, Ref
from regrain.manifest import GPUSpec, Manifest, Parameter, SLOSpec, StageSpec
from regrain_watchdog.cli.main import main


@dataclass(frozen=True)
class Outcome:
    code: object
    out: str
    err: str


Regrain = Callable[..., Outcome]


@pytest.fixture
def regrain(capsys: pytest.CaptureFixture[str], tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> Regrain:
    """Run `regrain` with arguments; run files are the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    monkeypatch.delenv("REGRAIN_URL", raising=False)

    def run(*args: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(args)
        captured = capsys.readouterr()
        return Outcome(ended.value.code, captured.out, captured.err)

    return run


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
