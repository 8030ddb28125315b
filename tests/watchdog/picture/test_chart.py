from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from regrain_watchdog.picture.chart import Panel, over, svg
from regrain_watchdog.picture.svg import png

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*panels: Panel) -> ElementTree.Element:
    return ElementTree.fromstring(svg(panels))


def test_every_panel_is_drawn_with_a_line_per_name() -> None:
    times = [0.0, 1.0, 2.0]
    root = drawn(
        Panel(title="rate", lines={"offered": over(times, [1, 2, 3])}, unit="s"),
        Panel(title="a & b", lines={"p50": over(times, [1, 1, 1]), "p95": over(times, [2, 3, 2])}, unit="s"),
    )

    panels = root.findall(f"{SVG}g")
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [len(panel.findall(f"{SVG}polyline")) for panel in panels] == [1, 2]
    assert {"rate", "a & b", "offered", "p50", "p95"} <= set(texts)


def test_a_value_that_is_not_known_leaves_a_gap() -> None:
    line = over([0, 1, 2, 3, 4], [1, 1, math.nan, 2, 2])

    lines = list(drawn(Panel(title="hits", lines={"app": line}, unit="s")).iter(f"{SVG}polyline"))

    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]


def test_an_axis_ends_at_a_round_number_that_holds_everything() -> None:
    root = drawn(Panel(title="rate", lines={"app": [(0, 37.0), (7, 12.0)]}, unit="min"))

    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"40", "8 min"} <= set(texts)


def test_a_share_can_be_drawn_against_the_whole() -> None:
    root = drawn(Panel(title="hit rate", lines={"app": [(0, 0.2)]}, unit="s", least_top=1.0))

    assert "1" in [text.text for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("lines", [{}, {"app": []}, {"app": [(0.0, math.nan)]}])
def test_nothing_measured_is_an_empty_panel(lines: dict[str, list[tuple[float, float]]]) -> None:
    assert list(drawn(Panel(title="rate", lines=lines, unit="s")).iter(f"{SVG}polyline")) == []


def test_it_can_be_turned_into_a_bitmap() -> None:
    picture = svg([Panel(title="rate", lines={"app": [(0, 1.0), (1, 2.0)]}, unit="s")])

    assert png(picture).startswith(b"\x89PNG")
