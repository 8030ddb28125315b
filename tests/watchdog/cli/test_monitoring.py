import json

import pytest
import yaml

APP = """
from regrain import App, SLO

app = App("ocr-pages"{slo})


@app.stage()
def read(text: str) -> str:
    return text


@app.flow
def pages(text: str) -> str:
    return read(text)
"""


@pytest.fixture
def app(tmp_path):
    def write(slo: str) -> str:
        (tmp_path / "app.py").write_text(APP.format(slo=slo))
        return str(tmp_path / "app.py")

    return write


@pytest.mark.process
def test_the_files_are_written_and_named(regrain, app, tmp_path):
    out = tmp_path / "deep" / "monitoring"
    outcome = regrain("monitoring", app(", slo=SLO(latency=0.3, attainment=0.9)"), "--out", str(out))

    rules = yaml.safe_load((out / "rules.yaml").read_text())
    dashboard = json.loads((out / "dashboard.json").read_text())
    assert outcome.code == 0, outcome.err
    assert outcome.out.split() == [
        str(out / name) for name in ("scrape.yaml", "rules.yaml", "dashboard.json")
    ]
    assert rules["groups"][0]["name"] == "regrain-ocr-pages"
    assert dashboard["title"] == "Regrain: ocr-pages"
    assert yaml.safe_load((out / "scrape.yaml").read_text())["scrape_configs"][0]["job_name"] == "regrain"


@pytest.mark.process
def test_an_app_without_an_objective_is_refused(regrain, app, tmp_path):
    outcome = regrain("monitoring", app(""), "--out", str(tmp_path / "out"))

    assert outcome.code == 2
    assert "ocr-pages has no objective to be held against" in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.process
def test_a_name_that_can_be_none_is_refused(regrain, app, tmp_path):
    flags = ["--name", 'a"} or vector(1)', "--out", str(tmp_path / "out")]
    outcome = regrain("monitoring", app(", slo=SLO(latency=0.3, attainment=0.9)"), *flags)

    assert outcome.code == 2
    assert "name: up to 63 of" in outcome.err
