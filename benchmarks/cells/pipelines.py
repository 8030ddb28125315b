"""The apps of the cells: stages that stand for measured models on emulated GPUs, and CPU stages that sleep.

None has the shape of a pipeline in the granularity experiment's protocol with its times, nor was any trained on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FLUID = "fluid"
"""The grain of one fluid group."""
MEMORY = "1Gi"
"""That a replica declares; the emulated models are told to be small, since memory is not the matter here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of a live app.

    Attributes:
        name: its own. model: that it stands for; "" for a CPU stage. time: seconds of a CPU stage, else the scale.
        batch: units of a call at most.
        takes: stages whose results it takes; none for the first. maps: whether over the items of its list.
        gives: whether it gives a list, of as many items as the request says.
    """

    name: str
    model: str = ""
    time: float = 1.0
    batch: int = 1
    takes: tuple[str, ...] = ()
    maps: bool = False
    gives: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """An app.

    Attributes:
        name: its own. stages: of an app that is to be written; none of one that there is.
        widths: the law of its list's items, as a scenario has it; "" where it has none.
        grains: that it is run at. replicas: of a group at most.
        rates: requests a second, least and most, that two cores bear beside everything else.
    """

    name: str
    stages: tuple[Stage, ...] = ()
    widths: str = ""
    grains: tuple[str, ...] = ("fine", "coarse")
    replicas: int = 6
    rates: tuple[float, float] = (25.0, 180.0)


PIPELINES = (
    Pipeline(
        name="pair",
        stages=(
            Stage(name="find", model="resnet34", batch=4),
            Stage(name="tell", model="squeezenet1_0", time=2.0, batch=8, takes=("find",)),
        ),
    ),
    Pipeline(
        name="three",
        stages=(
            Stage(name="decode", time=0.006),
            Stage(name="look", model="convnext_tiny", batch=8, takes=("decode",)),
            Stage(name="name", model="resnet50", batch=2, takes=("look",)),
        ),
        grains=("fine", "coarse", "decode | look+name", "decode+look | name"),
    ),
    Pipeline(
        name="crowd",
        stages=(
            Stage(name="find", model="inception_v3", gives=True),
            Stage(name="embed", model="convnext_tiny", time=0.5, batch=8, takes=("find",), maps=True),
            Stage(name="match", time=0.003, takes=("embed",)),
        ),
        widths='{kind = "geometric", mean = 5.0}',
        grains=("fine", "coarse", "find | embed+match", FLUID),
    ),
    Pipeline(
        name="frames",
        stages=(
            Stage(name="split", time=0.004, gives=True),
            Stage(name="look", model="vgg11", time=1.5, batch=4, takes=("split",), maps=True),
            Stage(name="tag", model="alexnet", time=2.0, batch=8, takes=("look",), maps=True),
            Stage(name="sum", time=0.002, takes=("tag",)),
        ),
        widths='{kind = "uniform", low = 1, high = 12}',
        grains=("fine", "coarse", "split | look+tag | sum", FLUID),
    ),
    Pipeline(
        name="parted",
        stages=(
            Stage(name="read", time=0.005),
            Stage(name="left", model="vgg19", batch=4, takes=("read",)),
            Stage(name="right", model="resnet34", batch=8, takes=("read",)),
            Stage(name="join", time=0.002, takes=("left", "right")),
        ),
        grains=("fine", "coarse", "read | left | right+join", FLUID),
    ),
    Pipeline(
        name="five",
        stages=(
            Stage(name="decode", time=0.008),
            Stage(name="first", model="wide_resnet101_2", time=0.5, batch=4, takes=("decode",)),
            Stage(name="second", model="googlenet", batch=8, takes=("first",)),
            Stage(name="third", model="mobilenet_v3_large", batch=4, takes=("second",)),
            Stage(name="pack", time=0.003, takes=("third",)),
        ),
        grains=("fine", "coarse", "decode | first+second | third+pack", "decode+first | second+third+pack"),
    ),
)


OCR = Pipeline(
    name="ocr",
    grains=("coarse", "decode+detect+crop | orient+recognise+assemble"),
    replicas=2,
    rates=(1.0, 40.0),
)
"""The app of examples/ocr on the CPU: nothing is emulated, and replicas and generator share the cores."""


def write(pipeline: Pipeline, folder: Path) -> None:
    """Write an app and what its stages stand for into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.py").write_text(source(pipeline), encoding="utf-8")
    (folder / "emulated.toml").write_text(emulated(pipeline), encoding="utf-8")


def source(pipeline: Pipeline) -> str:
    """Return the app's module."""
    parts = [
        f'import time\n\nfrom regrain import GPU, App\n\napp = App("{pipeline.name}", sample={{"count": 4}})\n',
        *(_stage(stage, pipeline) for stage in pipeline.stages),
        "\n\n@app.flow\ndef run(count: int) -> int:",
        *(f"    {stage.name}_result = {_call(stage)}" for stage in pipeline.stages),
        f"    return {pipeline.stages[-1].name}_result\n",
    ]
    return "\n".join(parts)


def emulated(pipeline: Pipeline) -> str:
    """Return what the stages stand for; a drift that the profile does not see, no interference between replicas."""
    head = "[emulated]\nseed = 1\njitter = 0.1\ndrift = 0.1\ninterference = 0.0\ncontext = '1Mi'\n"
    stages = [
        f"\n[emulated.stages.{stage.name}]\nmodel = '{stage.model}'\nscale = {stage.time}\n"
        "weights = '1Mi'\nactivations = '1Mi'\nload_time = '10ms'\n"
        for stage in pipeline.stages
        if stage.model
    ]
    return head + "".join(stages)


def _stage(stage: Stage, pipeline: Pipeline) -> str:
    """Return a stage's code; on a list of numbers it hands on their count."""
    givers = {one.name for one in pipeline.stages if one.gives}
    lists = bool(_lists(stage, pipeline, givers))
    taken = "list[int]" if lists else "int"
    given = "list[int]" if stage.gives else "int"
    value = "len(value)" if lists else "value"
    result = f"list(range({value}))" if stage.gives else value
    if stage.model:
        each = re.sub(r"\bvalue\b", "one", result)
        return (
            f'\n\n@app.batched(max_size={stage.batch}, gpu=GPU(memory="{MEMORY}"))\n'
            f"def {stage.name}(values: list[{taken}]) -> list[{given}]:\n    return [{each} for one in values]"
        )
    parameters = ", ".join(
        ["value: " + taken, *(f"other{place}: int" for place in range(len(stage.takes) - 1))]
    )
    return (
        f"\n\n@app.stage(cpu=1)\ndef {stage.name}({parameters}) -> {given}:\n"
        f"    time.sleep({stage.time})\n    return {result}"
    )


def _lists(stage: Stage, pipeline: Pipeline, givers: set[str]) -> list[str]:
    """Return of what a stage takes the names that are whole lists to it."""
    mapped = {one.name for one in pipeline.stages if one.maps}
    return [name for name in stage.takes if name in givers | mapped and not stage.maps]


def _call(stage: Stage) -> str:
    arguments = ", ".join(f"{name}_result" for name in stage.takes) or "count"
    return f"{stage.name}.map({arguments})" if stage.maps else f"{stage.name}({arguments})"
