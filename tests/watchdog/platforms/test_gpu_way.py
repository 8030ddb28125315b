import pytest

from regrain.errors import SpecError
from regrain_watchdog.platforms.gpu import Annotations, Hami, Mig, Profile, Replicas
from regrain_watchdog.platforms.gpu_way import parse

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("annotations", Annotations()),
        ("hami", Hami()),
        ("hami:example.com", Hami(prefix="example.com")),
        ("mps:3x141Gi", Replicas(replicas=3, memory=141 * GIB)),
        (
            "mig:1g.18gb=0.125x18Gi, 2g.35gb=0.25x35Gi",
            Mig(
                profiles=(
                    Profile(name="1g.18gb", share=0.125, memory=18 * GIB),
                    Profile(name="2g.35gb", share=0.25, memory=35 * GIB),
                )
            ),
        ),
    ],
)
def test_a_way(text, way):
    assert parse(text) == way


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "annotations:1",
        "mps",
        "mps:x",
        "mps:0x1Gi",
        "mps:2x-1",
        "mig",
        "mig:a",
        "mig:a=2x1Gi",
        "mig:=1x1",
    ],
)
def test_what_is_none_is_told_with_what_there_is(text):
    with pytest.raises(SpecError, match=r'the way to share GPUs.*"annotations", "hami", "mps:'):
        parse(text)
