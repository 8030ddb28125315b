"""A profile as a picture."""

from xml.etree import ElementTree

from regrain_watchdog.policy.profile import Point, Profile, StageProfile
from regrain_watchdog.profile.drawing import draw

POINTS = tuple(
    Point(batch, 10.0, share, 0.01 * batch, 0.1, 9) for share in (0.5, 1.0) for batch in (1, 2, 16)
)


def test_a_stage_on_a_gpu_has_a_line_for_each_batch_and_another_one_for_each_number_of_cores():
    stages = {
        "see": StageProfile(digest="a", on_gpu=True, points=POINTS),
        "split": StageProfile(digest="b", points=POINTS),
    }

    told = [
        text.text
        for text in ElementTree.fromstring(draw(Profile(app="a", stages=stages))).iter()
        if text.text
    ]

    assert [text for text in told if "at once" in text] == ["1 at once", "2 at once", "16 at once"]
    assert [text for text in told if " core" in text and "ms" not in text] == ["0.5 cores", "1 core"]
    assert any(text.startswith("see: ms of a call over share of a GPU") for text in told)


def test_of_several_sizes_the_one_with_most_points_is_drawn():
    rare = Point(1, 99.0, 0.5, 123.0)

    drawn = draw(Profile(app="a", stages={"see": StageProfile(digest="a", points=(*POINTS, rare))}))

    assert "requests of 10 bytes" in drawn


def test_a_lone_point_can_be_seen():
    lone = StageProfile(digest="a", points=(Point(1, 10.0, 1.0, 0.01),))

    drawn = ElementTree.fromstring(draw(Profile(app="a", stages={"split": lone})))

    (line,) = [found for found in drawn.iter() if found.tag.endswith("polyline")]
    assert len(line.attrib["points"].split()) == 2
