from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from regrain.wire.lease import Status, Usage
from regrain_watchdog.front import reference
from regrain_watchdog.front.adapting.tally import Counts
from regrain_watchdog.front.config import options
from regrain_watchdog.front.measure import Gauges, Measure
from regrain_watchdog.front.named import METRICS

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("page", "text"), [("settings.md", reference.settings()), ("metrics.md", reference.metrics())]
)
def test_the_page_in_docs_is_up_to_date(page, text):
    assert (DOCS / page).read_text() == text, "run: python -m regrain_watchdog.front.reference docs"


def test_every_setting_is_told():
    text = reference.settings()

    assert all(f"| `{option.flag}` | `{option.environment}` |" in text for option in options())


def test_that_the_flag_of_a_switch_takes_no_value_is_told():
    rows = {line.split()[1]: line for line in reference.settings().splitlines() if line.startswith("| `--")}
    switches = {f"`{option.flag}`" for option in options() if option.setting.is_switch}

    assert switches
    assert {flag for flag, row in rows.items() if "takes no value" in row} == switches


def test_every_metric_that_is_served_is_told():
    books = Status(
        epoch=1, sms=80, free_sms=80, memory=1, free_memory=1, members=(), usage=(Usage(name="app/a"),)
    )
    measure = Measure(gauges=lambda: Gauges(gpus=(books,)))
    measure.adapting = lambda: Counts(predicted=0.9)
    served = {family.name for family in text_string_to_metric_families(measure.page()[1].decode())}

    assert {name for name in served if not name.startswith("process_")} == {named.name for named in METRICS}


def test_writing_makes_both_pages(tmp_path):
    reference.write(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"settings.md", "metrics.md"}
