from regrain.grain import make_plan
from regrain.graph import Const, Graph, Node, Pack, Ref
from regrain.manifest import Manifest, Parameter, StageSpec
from regrain_watchdog.picture.outline import outline

OCR = """\
ocr
grain  decode+detect | crop+orient+recognise | assemble   ·   95 % within 800 ms

╭─ decode+detect ────────────────────────────────────────── 1 replica ─╮
│ decode      ← image            1 core                                │
│ detect      ← decode           1 core                                │
╰──────────────────────────────────────────────────────────────────────╯
╭─ crop+orient+recognise ───────────────────────────────── 3 replicas ─╮
│ crop        ← decode, detect   1 core                                │
│ orient      ← each of crop     1 core               batch ≤ 16, 3 ms │
│ recognise   ← each of orient   1 core · GPU 1 GiB   batch ≤ 32, 5 ms │
╰──────────────────────────────────────────────────────────────────────╯
╭─ assemble ─────────────────────────────────────────────── 1 replica ─╮
│ assemble    ← recognise        1 core                                │
╰──────────────────────────────────────────────────────────────────────╯
  answer ← assemble
"""


def test_the_text_shows_groups_as_frames_and_a_line_per_stage(ocr):
    plan = make_plan(ocr, "decode+detect | crop+orient+recognise | assemble", "crop=3")

    assert outline(ocr, plan) == OCR


def test_arguments_read_as_the_flow_wrote_them():
    args = (Pack("list", (Ref("$a"), Const(b""))), Ref("$b", ("boxes", 2)))
    graph = Graph(
        ("a", "b"), (Node("join", args, {"k": Ref("$a")}),), Pack("dict", (Ref("join"),), ("text",))
    )
    manifest = Manifest(
        app="x",
        stages=(StageSpec(name="join", digest=""),),
        graph=graph,
        parameters=(),
        answer=Parameter(name="", kind="json"),
    )

    text = outline(manifest, make_plan(manifest, "coarse"))

    assert "join   ← [a, constant], b.boxes[2], k=a   1 core" in text
    assert "answer ← {text: join}" in text


def test_a_group_s_name_may_be_longer_than_its_lines(diamond):
    text = outline(diamond, make_plan(diamond, "coarse"))

    frame = [line for line in text.splitlines() if line.startswith(("╭", "│", "╰"))]
    assert len({len(line) for line in frame}) == 1
