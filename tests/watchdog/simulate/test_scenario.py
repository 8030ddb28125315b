from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from regrain.errors import SpecError
from regrain_watchdog.simulate.scenario import DISTRIBUTIONS, PROCESSES, Scenario, offered, read

DOCS = Path(__file__).parents[3] / "docs" / "load.md"

GOOD = """
seed = 3
duration = "100s"

[node]
gpus = "emulated:v100x2"
cores = 4
memory = "16Gi"

[prices]
core = 0.05

[apps.ocr]
module = "app.py"
slo = {latency = "800ms", attainment = 0.9}
grain = "coarse"
load = {kind = "poisson", rate = 20.0}
sizes = {kind = "lognormal", median = 1000, sigma = 0.5}
widths = [{kind = "geometric", mean = 4}]
"""
WIDTHS = GOOD.splitlines()[-1]


@pytest.fixture
def scenario(tmp_path: Path):
    def scenario(text: str) -> Scenario:
        file = tmp_path / "scenario.toml"
        file.write_text(text)
        return read(file)

    return scenario


def test_a_scenario_is_read_with_its_units(scenario, tmp_path: Path) -> None:
    made = scenario(GOOD)

    assert made.duration == 100.0
    assert [card.name for card in made.nodes[""].node.cards] == ["v100", "v100"]
    assert made.nodes[""].node.memory == 16 << 30
    assert made.prices.core == 0.05
    app = made.apps["ocr"]
    assert app.slo is not None
    assert app.slo.latency == 0.8
    assert app.module == str(tmp_path / "app.py")
    assert [phase.seconds for phase in app.load] == [100.0]


def test_what_is_offered_follows_the_seed_and_the_app_s_name(scenario) -> None:
    one, again = (offered(scenario(GOOD), "ocr").arrivals for _ in range(2))
    other = offered(scenario(GOOD.replace("seed = 3", "seed = 4")), "ocr").arrivals
    renamed = offered(scenario(GOOD.replace("apps.ocr", "apps.other")), "other").arrivals

    assert one.at.tolist() == again.at.tolist()
    assert one.size.tolist() == again.size.tolist()
    assert one.widths.tolist() == again.widths.tolist()
    assert len({tuple(load.at) for load in (one, other, renamed)}) == 3
    assert one.rate == pytest.approx(20, rel=0.1)
    assert one.widths.mean() == pytest.approx(4, rel=0.1)
    assert one.span == 100.0


def test_phases_last_the_duration_together(scenario) -> None:
    phases = """load = [
        {kind = "poisson", rate = 5.0, seconds = "40s"},
        {kind = "onoff", rate = 50.0, on = 5, off = 5, seconds = 60},
    ]"""
    made = scenario(GOOD.replace('load = {kind = "poisson", rate = 20.0}', phases))

    assert [phase.seconds for phase in made.apps["ocr"].load] == [40.0, 60.0]
    with pytest.raises(
        SpecError, match=r"apps\.ocr\.load must be .* phases that last 100 seconds together; was 90"
    ):
        scenario(GOOD.replace('load = {kind = "poisson", rate = 20.0}', phases.replace("60}", "50}")))


def test_several_nodes_have_names_and_apps_say_on_which_they_are(scenario) -> None:
    head, rest = GOOD.replace("[node]", '[node.small]\ncores = 2\n[node.big]\nplans = "joint"').split(
        "[apps.ocr]"
    )
    made = scenario(
        f'{head}[apps.ocr]\nnode = "big"\nadapt = true\nperiod = "5s"\nlimits = {{fluid = true}}{rest}'
    )

    assert {name: shared.plans for name, shared in made.nodes.items()} == {"small": "each", "big": "joint"}
    assert made.node_of("ocr").cores == 4
    app = made.apps["ocr"]
    assert (app.adapt, app.period, app.predictor) == (True, 5.0, "verified")
    assert app.limits is not None
    assert app.limits.fluid
    with pytest.raises(SpecError, match=r"apps\.ocr\.node must be one of 'small', 'big'; was ''"):
        scenario(f"{head}[apps.ocr]{rest}")


BODIES = (
    GOOD.replace('widths = [{kind = "geometric", mean = 4}]', "")
    + """
[[apps.ocr.bodies]]
file = "small.png"
widths = [3]
weight = 3
[[apps.ocr.bodies]]
file = "large.png"
widths = [9]
"""
)


def test_bodies_bring_their_sizes_and_widths(scenario, tmp_path: Path) -> None:
    (tmp_path / "small.png").write_bytes(b"x" * 500)
    (tmp_path / "large.png").write_bytes(b"x" * 2000)

    nearest = offered(scenario(BODIES), "ocr")
    weighed = offered(
        scenario(BODIES.replace('sizes = {kind = "lognormal", median = 1000, sigma = 0.5}', "")), "ocr"
    )

    for load in (nearest, weighed):
        assert set(load.arrivals.size) == {500.0, 2000.0}
        assert load.arrivals.widths[:, 0].tolist() == np.where(load.bodies == 0, 3, 9).tolist()
    assert (weighed.bodies == 0).mean() == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "seed = 3", "sed = 3", "the scenario has no setting 'sed'; it has seed, duration", id="top"
        ),
        pytest.param("seed = 3", "seed = -1", "seed must be a whole number, 0 or more.*; was -1", id="seed"),
        pytest.param(
            "seed = 3", f"seed = {1 << 64}", r"less than 2\*\*64; was 18446744073709551616", id="seeds"
        ),
        pytest.param('"100s"', '"soon"', "duration must be seconds or a duration like", id="duration"),
        pytest.param('"100s"', "0", "duration must be more than 0 seconds", id="no time"),
        pytest.param('"100s"', "inf", "duration must be more than 0 seconds.*; was inf", id="no end"),
        pytest.param('"100s"', "true", "duration must be more than 0 seconds.*; was True", id="a claim"),
        pytest.param('"800ms"', "0", "apps.ocr.slo: latency must be seconds over 0, was 0", id="at once"),
        pytest.param('"800ms"', "-1.0", "apps.ocr.slo: latency must be seconds over 0, was -1", id="before"),
        pytest.param(
            '"800ms"', '"-1s"', "apps.ocr.slo.latency must be seconds or a duration", id="text before"
        ),
        pytest.param(
            '"800ms"', "inf", "apps.ocr.slo: latency must be seconds over 0, was inf", id="whenever"
        ),
        pytest.param(
            "attainment = 0.9",
            "attainment = 95",
            r"apps.ocr.slo: attainment must be in \(0, 1\], was 95",
            id="percent",
        ),
        pytest.param(
            "attainment = 0.9",
            "attained = 0.9",
            "apps.ocr.slo has no setting 'attained'; it has latency",
            id="slo key",
        ),
        pytest.param(
            "cores = 4",
            "core = 4",
            "node has no setting 'core'; it has gpus, cores, memory, plans",
            id="node",
        ),
        pytest.param("cores = 4", "cores = -4", "node.cores must be 0 or more, was -4", id="cores"),
        pytest.param("v100x2", "v9x2", "no GPU type 'v9'", id="card"),
        pytest.param('"16Gi"', '"a lot"', "node.memory must be bytes or a size", id="memory"),
        pytest.param(
            "core = 0.05", "kernel = 1", "prices has no setting 'kernel'; it has core, memory", id="prices"
        ),
        pytest.param(
            "core = 0.05", "core = nan", "prices.core must be dollars, 0 or more; was nan", id="nan"
        ),
        pytest.param(
            "core = 0.05", "gpu = -1", "prices.gpu must be dollars, 0 or more; was -1", id="negative price"
        ),
        pytest.param("core = 0.05", "request = inf", "prices.request must be dollars", id="no price"),
        pytest.param(
            WIDTHS,
            "bodies = [{file = 'b', weight = inf}]",
            "apps.ocr.bodies: weights must be numbers above 0",
            id="weight",
        ),
        pytest.param(
            WIDTHS,
            "bodies = [{file = 'b', weight = 1e308}, {file = 'b', weight = 1e308}]",
            "apps.ocr.bodies: weights must be numbers above 0",
            id="weights",
        ),
        pytest.param(
            WIDTHS,
            "bodies = [{file = 'b', widths = [3000000000]}]",
            r"apps.ocr.bodies: widths must be from 0 to 1000000 items, were \[3000000000\]",
            id="wide body",
        ),
        pytest.param(
            WIDTHS,
            f'widths = [{{kind = "uniform", low = 1, high = {(1 << 63) - 1}}}]',
            r"apps.ocr.widths\[0\]: high must be at most 9007199254740991, was 9223372036854775807",
            id="high",
        ),
        pytest.param("[apps.ocr]", "[app.ocr]", "the scenario has no setting 'app'", id="apps"),
        pytest.param("grain =", "grian =", "apps.ocr has no setting 'grian'; it has module", id="app"),
        pytest.param(
            'slo = {latency = "800ms", attainment = 0.9}',
            'slo = "1s"',
            r'apps.ocr.slo must be like {latency = "1s", attainment = 0.95}; was \'1s\'',
            id="slo",
        ),
        pytest.param(
            'grain = "coarse"', "grain = 3", "apps.ocr: Expected `str`, got `int` - at `grain`", id="type"
        ),
        pytest.param(
            'module = "app.py"', "", "apps.ocr must have a module or a manifest, and not both", id="module"
        ),
        pytest.param('grain = "coarse"', 'grain = "fine"\nplan = "p"', "a plan has its own grain", id="plan"),
        pytest.param(
            'kind = "poisson"', 'kind = "poison"', "must be one of poisson, mmpp, onoff", id="process"
        ),
        pytest.param(
            'kind = "poisson"', 'kind = ["poisson"]', r"one of poisson, .*; was \['poisson'\]", id="processes"
        ),
        pytest.param(
            "rate = 20.0",
            "rates = 20.0",
            "apps.ocr.load has no setting 'rates'; it has rate, kind",
            id="rate",
        ),
        pytest.param(
            "rate = 20.0", "rate = -2.0", "apps.ocr.load: rate must be requests a second", id="negative"
        ),
        pytest.param(
            "rate = 20.0", "rate = 'x'", "apps.ocr.load: Expected `float`, got `str` - at `rate`", id="word"
        ),
        pytest.param(
            'kind = "geometric"', 'kind = "round"', r"ocr.widths\[0\].kind must be one of fixed", id="widths"
        ),
        pytest.param("mean = 4", "mean = 0", r"apps.ocr.widths\[0\]: mean must be 1 or more", id="mean"),
        pytest.param(
            "widths = [",
            "bodies = [{}]\nwidths = [",
            r"bodies\[0\]: .* missing required field `file`",
            id="body",
        ),
        pytest.param(
            "widths = [", "bodies = [{file='b'}]\nwidths = [", "bodies bring their own widths", id="both"
        ),
        pytest.param("seed = 3", "seed = ", "is no TOML", id="toml"),
        pytest.param(
            'grain = "coarse"', 'period = "5s"', "period is for apps that adapt: adapt = true", id="habit"
        ),
        pytest.param(
            'grain = "coarse"',
            "adapt = true\nperiod = 0",
            "ocr.period must be more than 0 seconds, was 0",
            id="period",
        ),
        pytest.param(
            'grain = "coarse"', "adapt = true\nperiod = inf", "period must be more than 0", id="never"
        ),
        pytest.param(
            'grain = "coarse"',
            'adapt = true\npredictor = "oracle"',
            "must be one of verified, analytic, simulated, learned",
            id="predictor",
        ),
        pytest.param(
            'grain = "coarse"',
            "adapt = true\nlimits = {share = [1]}",
            "limits has no setting 'share'; it has shares",
            id="limit",
        ),
        pytest.param(
            'grain = "coarse"',
            "adapt = true\nlimits = {shares = [0.5, 0.2]}",
            "ocr.limits: shares must ascend",
            id="limits",
        ),
        pytest.param(
            'grain = "coarse"', 'node = "big"', r"apps.ocr.node must be one of ''; was 'big'", id="no node"
        ),
        pytest.param(
            'grain = "coarse"', 'node = [""]', r"apps.ocr.node must be one of ''; was \[''\]", id="nodes"
        ),
        pytest.param(
            "cores = 4", 'plans = "all"', "node.plans must be one of each, joint; was 'all'", id="plans"
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(scenario, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(SpecError, match=said):
        scenario(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            WIDTHS,
            'widths = [{kind = "fixed", value = 3000000000}]',
            r"apps.ocr.widths\[0\]: items of a list must be at most 1000000, were 3000000000",
            id="widths",
        ),
        pytest.param(
            "median = 1000",
            "median = 1e300",
            "apps.ocr: bytes of a request must be at most 1073741824, were ",
            id="sizes",
        ),
    ],
)
def test_what_is_too_large_to_be_sent_is_refused_before_anything_is(
    scenario, old: str, new: str, said: str
) -> None:
    made = scenario(GOOD.replace(old, new))

    with pytest.raises(SpecError, match=said):
        offered(made, "ocr")


def test_a_body_that_is_not_there_is_named(scenario) -> None:
    with pytest.raises(SpecError, match=r"apps\.ocr\.bodies: there is no file .*small\.png"):
        scenario(BODIES)


def test_the_documented_scenario_is_one(scenario, tmp_path: Path) -> None:
    text = DOCS.read_text().partition("```toml\n")[2].partition("```")[0]
    for name in ("receipt.png", "page.png"):
        (tmp_path / name).write_bytes(b"x")

    made = scenario(text)

    assert offered(made, "ocr").arrivals.rate == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize("kind", [*PROCESSES, *DISTRIBUTIONS])
def test_every_kind_and_setting_is_documented(kind: type[msgspec.Struct]) -> None:
    text = DOCS.read_text()

    assert f"`{kind.__struct_config__.tag}`" in text
    assert [field for field in kind.__struct_fields__ if f"`{field}`" not in text] == []


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (".", "{}"),
        ("..", "{}/.."),
        (".:ocr", "{}/.:ocr"),
        ("app.py:ocr", "{}/app.py:ocr"),
        ("apps/ocr", "{}/apps/ocr"),
        ("package.app", "package.app"),
    ],
)
def test_a_file_or_folder_of_a_module_is_that_of_the_scenario(
    scenario, tmp_path: Path, module: str, found: str
) -> None:
    made = scenario(GOOD.replace('"app.py"', f'"{module}"'))

    assert made.apps["ocr"].module == found.format(tmp_path)


def test_a_scenario_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.toml cannot be read: No such file"):
        read(tmp_path / "none.toml")
