"""The notation of what groups are entitled to of GPUs, and the plans that it makes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain import grain, shares
from regrain.errors import SpecError
from regrain.graph import Graph, Node, Ref
from regrain.manifest import GPUSpec, Manifest, Parameter, StageSpec
from regrain.plan import GpuShare

GIB = 1 << 30
FINE = "decode | detect | recognise"


def manifest() -> Manifest:
    nodes = (
        Node("decode", (Ref("$image"),)),
        Node("detect", (Ref("decode"),)),
        Node("recognise", (Ref("detect"),)),
    )
    needs = {"detect": GPUSpec(memory=GIB, share=0.5), "recognise": GPUSpec(memory=2 * GIB)}
    stages = tuple(StageSpec(name=node.stage, digest="", gpu=needs.get(node.stage)) for node in nodes)
    image = Parameter(name="image", kind="bytes")
    graph = Graph(("image",), nodes, Ref("recognise"))
    return Manifest(app="ocr", stages=stages, graph=graph, parameters=(image,), answer=image)


def planned(said: str, cut: str = FINE) -> list[GpuShare | None]:
    return [group.gpu for group in grain.make_plan(manifest(), cut, "", said).groups]


def test_without_a_word_stages_get_what_they_hint_at_and_those_that_need_no_gpu_get_none():
    assert planned("") == [None, GpuShare(fraction=0.5, memory=GIB), GpuShare(memory=2 * GIB)]


def test_one_number_is_for_every_group_and_words_may_follow():
    assert [share and share.fraction for share in planned("0.25")] == [None, 0.25, 0.25]
    assert [share and (share.fraction, share.weight) for share in planned(".3 weight=2")] == [
        None,
        (0.3, 2.0),
        (0.3, 2.0),
    ]


@pytest.mark.parametrize(
    "said",
    [
        "detect=0.25 floor=0.1 weight=3, recognise=0.5 ceiling=0.6 priority=1",
        " recognise = 0.5 priority=1 ceiling = 0.6 ,, detect=.25  weight=3 floor=0.1",
    ],
)
def test_each_group_is_given_its_own_words_in_any_order(said):
    assert planned(said) == [
        None,
        GpuShare(fraction=0.25, memory=GIB, floor=0.1, weight=3.0),
        GpuShare(fraction=0.5, memory=2 * GIB, ceiling=0.6, priority=1),
    ]


def test_a_group_without_a_number_runs_on_what_its_stages_hint_at():
    detect = planned("detect floor=0.2")[1]

    assert detect == GpuShare(fraction=0.5, memory=GIB, floor=0.2)


def test_a_priority_stays_a_whole_number():
    found = planned("detect priority=-2")[1]

    assert found is not None
    assert isinstance(found.priority, int)


def test_what_is_said_of_two_stages_is_put_together_where_they_are_fused():
    """So that the same setting holds for every grain."""
    said = "detect=0.25 floor=0.1 weight=3 ceiling=0.7, recognise=0.5 floor=0.2 ceiling=0.6 priority=1"

    assert planned(said, "coarse") == [
        GpuShare(fraction=0.5, memory=3 * GIB, weight=3.0, floor=pytest.approx(0.3), ceiling=1.0, priority=1)
    ]
    assert planned("detect+recognise=0.75", "decode | detect+recognise")[1].fraction == 0.75


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("1.5", "a fraction must be above 0 and up to 1, was '1.5'"),
        ("0", "a fraction must be above 0"),
        ("detect=", "a fraction must be above 0 and up to 1, was ''"),
        ("detect=nan", "was 'nan'"),
        ("detect=1e-3", "was '1e-3'"),
        ("detect", "nothing is said of 'detect'; allowed is"),
        ("detect=0.5 flor=0.1", "'flor' may not follow 'detect=0.5'; weight, floor, ceiling, priority may"),
        ("detect=0.5 floor=0.1 floor=0.2", "'floor' may not follow 'detect=0.5'; .* once each"),
        ("detect fraction=0.5", "'fraction' may not follow"),
        ("detect weight=0", "a weight must be from 0.001 to 1000, was '0'"),
        ("detect floor=2", "a floor must be from 0 to 1, was '2'"),
        ("detect ceiling=0", "a ceiling must be from 0.001 to 1, was '0'"),
        ("detect priority=0.5", "a priority must be a whole number from -100 to 100, was '0.5'"),
        ("detect floor=0.5 ceiling=0.2", "the floor of detect is 0.5, above its ceiling of 0.2"),
        ("detect=0.5, detect=0.6", "'detect' is in it twice"),
        ("read=0.5", r"there is no group 'read'; groups are decode \| detect \| recognise"),
        ("0.5,0.6", "nothing is said of '0.5'"),
        ("=0.5", "nothing is said of ''"),
        ("weight=0.5", "there is no group 'weight'"),
        ("decode=0.5", "'decode' needs no GPU, detect, recognise does"),
    ],
)
def test_what_is_no_share_is_refused_with_what_is_allowed(said, says):
    with pytest.raises(SpecError, match=says) as refused:
        planned(said)

    assert str(refused.value).startswith("shares")


def test_floors_that_add_up_to_a_whole_gpu_are_one_whatever_binary_fractions_make_of_them():
    said = [{"floor": 0.33}, {"floor": 0.56}, {"floor": 0.11}]

    assert shares.together(said, "a+b+c") == {"floor": 1.0}


def test_floors_that_add_up_to_the_ceilings_are_not_above_them():
    said = [{"floor": 0.1, "ceiling": 0.15}, {"floor": 0.2, "ceiling": 0.15}]

    assert shares.together(said, "a+b") == {"floor": 0.3, "ceiling": 0.3}


def test_floors_that_add_up_to_more_than_a_gpu_are_refused_where_stages_are_fused():
    said = "detect floor=0.6, recognise floor=0.6"

    assert [share and share.floor for share in planned(said)] == [None, 0.6, 0.6]
    with pytest.raises(
        SpecError, match=r"the floor of decode\+detect\+recognise must be .*, is 1.2 together"
    ):
        planned(said, "coarse")


words = st.fixed_dictionaries(
    {},
    optional={
        "weight": st.integers(1, 9),
        "floor": st.sampled_from([0, 0.25, 0.5]),
        "ceiling": st.sampled_from([0.5, 0.75, 1]),
        "priority": st.integers(-3, 3),
    },
)


@given(st.fixed_dictionaries({"detect": words, "recognise": words}))
def test_all_that_can_be_said_is_read_back(said):
    text = ", ".join(
        " ".join([f"{name}=0.5", *(f"{word}={number}" for word, number in chosen.items())])
        for name, chosen in said.items()
    )

    assert shares.parse(text) == [(name, {"fraction": 0.5, **chosen}) for name, chosen in said.items()]


@given(st.text(alphabet="detcrognis=+., 0123456789-weight\n", max_size=30))
def test_whatever_is_written_is_read_or_refused(text):
    with contextlib.suppress(SpecError):
        assert len(planned(text)) == 3
