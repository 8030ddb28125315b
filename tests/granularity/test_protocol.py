import pytest
from benchmarks.granularity import protocol as protocols

from regrain.errors import SpecError


def changed(tmp_path, old, new):
    text = protocols.FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "protocol.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_protocol_is_read_whole():
    protocol = protocols.read()

    assert [one.name for one in protocol.pipeline][-1] == "twelve"
    assert len(protocol.pipeline_named("twelve").stages) == 12
    assert protocol.slos(protocol.grid["core"]) == protocol.slo.multiples
    assert protocol.loads(protocol.grid["core"]) == protocols.LOADS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("jitter = 0.1", "jiter = 0.1", "jiter", id="a setting that there is not"),
        pytest.param('model = "vgg11"', 'model = "vgg10"', "vgg10", id="a model that there is not"),
        pytest.param('map = "lines"', 'map = "words"', "words", id="a list that there is not"),
        pytest.param(
            'after = ["enhance"]', 'after = ["pack"]', "not above it", id="a stage after a later one"
        ),
        pytest.param(
            "seconds = 0.018", 'seconds = 0.018, model = "vgg11"', "either", id="a stage that is two things"
        ),
        pytest.param("first = 1000", "first = 999", "below", id="test seeds among those of calibration"),
        pytest.param("warm_up = 0.1", "warm_up = 1.0", "warm_up", id="nothing left to judge"),
        pytest.param(
            'arrivals = ["poisson"] }', 'arrivals = ["fish"] }', "fish", id="arrivals that there are not"
        ),
        pytest.param('law = "uniform"', 'law = "zipf"', "zipf", id="a law that there is not"),
        pytest.param("attainment = 0.95", "attainment = ", "is no protocol", id="no TOML"),
    ],
)
def test_what_is_wrong_in_a_protocol_is_named(tmp_path, old, new, message):
    path = changed(tmp_path, old, new)

    with pytest.raises(SpecError, match=message):
        protocols.read(path)


def test_a_pipeline_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(SpecError, match="pages"):
        protocols.read().pipeline_named("page")
