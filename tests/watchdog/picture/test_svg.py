import struct
from xml.etree import ElementTree as ET

import msgspec
import pytest

from regrain.grain import make_plan
from regrain_watchdog.picture import svg as drawing
from regrain_watchdog.picture.svg import PictureError, png, svg

NAMESPACE = "{http://www.w3.org/2000/svg}"


def texts(picture):
    return [element.text for element in ET.fromstring(picture).iter(f"{NAMESPACE}text")]


@pytest.mark.parametrize("app", ["ocr", "diamond"])
@pytest.mark.parametrize("grain", ["fine", "coarse"])
def test_the_picture_names_the_app_every_group_and_every_stage(request, app, grain):
    manifest = request.getfixturevalue(app)
    plan = make_plan(manifest, grain, "2")

    said = texts(svg(manifest, plan))

    assert said[0] == manifest.app
    assert plan.grain in said[1]
    for group in plan.groups:
        assert " + ".join(group.stages) in said
    for stage in manifest.graph.stages:
        assert stage in said
    assert said.count("2 replicas") == len(plan.groups)
    assert {name.removeprefix("$") for name in manifest.graph.inputs} <= set(said)
    assert "answer" in said


def test_maps_and_batches_are_marked_and_explained(ocr, diamond):
    said = texts(svg(ocr, make_plan(ocr, "fine")))

    assert {"batch ≤ 32, 5 ms", "1 core · GPU 1 GiB", "item by item (map)", "batched"} <= set(said)
    assert not {"item by item (map)", "batched"} & set(texts(svg(diamond, make_plan(diamond, "fine"))))


def test_each_edge_ends_in_a_head(diamond):
    picture = svg(diamond, make_plan(diamond, "coarse"))

    heads = [
        path for path in ET.fromstring(picture).iter(f"{NAMESPACE}path") if path.get("d", "").endswith("Z")
    ]

    assert len(heads) == 7


def test_a_name_may_hold_what_xml_reserves(ocr):
    manifest = msgspec.structs.replace(ocr, app='<a&"b">')

    assert texts(svg(manifest, make_plan(manifest, "coarse")))[0] == '<a&"b">'


def test_an_app_whose_answer_is_a_constant_is_drawn(diamond):
    from regrain.graph import Const

    graph = msgspec.structs.replace(diamond.graph, output=Const(b"\xc0"))
    manifest = msgspec.structs.replace(diamond, graph=graph)

    assert "join" in texts(svg(manifest, make_plan(manifest, "coarse")))


def test_a_png_is_twice_the_drawing_s_size(ocr):
    picture = svg(ocr, make_plan(ocr, "fine"))
    root = ET.fromstring(picture)

    image = png(picture)

    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", image[16:24]) == (2 * int(root.get("width")), 2 * int(root.get("height")))


def test_without_a_font_a_png_is_refused_and_the_way_out_is_told(ocr, monkeypatch):
    import resvg_py

    bare = resvg_py.svg_to_bytes
    monkeypatch.setattr(resvg_py, "svg_to_bytes", lambda **options: bare(**options, skip_system_fonts=True))

    with pytest.raises(PictureError, match="use --format svg, or install fonts-dejavu-core"):
        png(svg(ocr, make_plan(ocr, "fine")))


def test_many_groups_use_the_tints_in_turn(ocr):
    assert len(drawing.TINTS) >= len(make_plan(ocr, "fine").groups)


def test_groups_and_stages_are_marked_for_pages_that_show_them_alive(ocr):
    plan = make_plan(ocr, "decode+detect+crop | orient+recognise | assemble")
    root = ET.fromstring(svg(ocr, plan))

    groups = {element.get("data-group"): element for element in root.iter() if element.get("data-group")}
    stages = [element.get("data-stage") for element in root.iter() if element.get("data-stage")]

    assert list(groups) == [group.name for group in plan.groups]
    assert [text.text for text in groups["assemble"].iter(f"{NAMESPACE}text")] == ["assemble", "1 replica"]
    assert sorted(stages) == sorted(ocr.graph.stages)


def test_a_page_that_has_a_heading_gets_the_drawing_without_one(ocr):
    plan = make_plan(ocr, "coarse")

    with_heading, without = (svg(ocr, plan, heading=heading) for heading in (True, False))

    assert "ocr" in texts(with_heading)
    assert "ocr" not in texts(without)
    height, lower = (int(ET.fromstring(picture).get("height")) for picture in (with_heading, without))
    assert height - lower == drawing.HEADER - drawing.MARGIN
