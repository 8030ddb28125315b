import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.front.named import METRICS
from regrain_watchdog.platforms.monitoring.dashboard import dashboard
from regrain_watchdog.platforms.monitoring.rules import BURNS, groups, ratio, threshold
from regrain_watchdog.platforms.monitoring.scrape import job

attainments = st.floats(0.01, 0.9999)
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
SERIES = {one.name + suffix: one for one in METRICS for suffix in SUFFIXES[one.kind]}
SELECTED = re.compile(r"([a-z_:0-9]+)\{([a-z]+)=\"([^\"]+)\"\}")
BY = re.compile(r"by \(([a-z, ]+)\)")


def test_two_apps_have_two_dashboards():
    """Grafana takes 40 characters at most, and replaces a dashboard by one of the same uid."""
    name = "recognise-pages-of-scanned-books"
    assert dashboard("ocr", 0.95)["uid"] == "regrain-ocr"
    assert dashboard(name, 0.95)["uid"] == f"regrain-{name}"

    uids = {dashboard(f"{name}-{which}", 0.95)["uid"] for which in ("a", "b", "staging", "production")}

    assert len(uids) == 4
    assert all(len(uid) == 40 and re.fullmatch("[a-z0-9-]+", uid) for uid in uids)


def rules():
    [group] = groups("ocr", 0.95)["groups"]
    return group["rules"]


def expressions():
    shown = [target["expr"] for panel in dashboard("ocr", 0.95)["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in rules()] + shown


def test_every_metric_that_is_asked_for_is_one_of_the_fronts():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for expression in expressions():
        asked = [(name, label, value) for name, label, value in SELECTED.findall(expression)]
        assert asked or expression.startswith("vector("), expression
        for name, label, value in asked:
            assert name in SERIES.keys() | recorded, expression
            assert (label, value) in (("app", "ocr"), ("app", "$app"))


def test_every_label_that_is_grouped_by_is_one_of_the_metrics():
    for expression in expressions():
        [name, *_] = [name for name, _, _ in SELECTED.findall(expression)] or [""]
        for labels in BY.findall(expression):
            allowed = {"le", "pod", *SERIES[name].labels}
            assert set(labels.split(", ")) <= allowed, expression


def test_every_expression_closes_what_it_opens():
    for expression in expressions():
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression


def test_every_window_of_an_alert_is_recorded():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    burning = [rule for rule in rules() if rule.get("alert") == "RegrainObjectiveBurns"]

    assert len(burning) == len(BURNS)
    for rule in burning:
        assert {name for name, _, _ in SELECTED.findall(rule["expr"])} <= recorded


def test_an_alert_says_how_much_of_the_budget_burns():
    [first, *_, last] = [rule for rule in rules() if rule.get("alert") == "RegrainObjectiveBurns"]

    assert first["expr"] == (
        'regrain:miss_ratio:rate1h{app="ocr"} > 0.525 and regrain:miss_ratio:rate5m{app="ocr"} > 0.525'
    )
    assert (first["labels"]["severity"], first["labels"]["window"]) == ("page", "1h")
    assert last["expr"] == (
        'regrain:miss_ratio:rate3d{app="ocr"} > 0.05 and regrain:miss_ratio:rate6h{app="ocr"} > 0.05'
    )


@pytest.mark.parametrize(
    ("burn", "attainment", "share"),
    [
        (14.4, 0.99, 0.144),
        (6.0, 0.99, 0.06),
        (14.4, 0.95, 0.525),
        (6.0, 0.95, 0.3),
        (1.0, 0.5, 0.5),
        (3.0, 0.5, 0.75),
    ],
)
def test_from_which_share_of_misses_is_alerted(burn, attainment, share):
    assert threshold(burn, attainment) == pytest.approx(share)


@given(attainments)
def test_an_outage_is_alerted_of_and_what_the_budget_allows_is_not(attainment):
    for burn in BURNS:
        assert 1 - attainment <= threshold(burn.rate, attainment) < 1.0


@given(attainments)
def test_what_burns_faster_is_alerted_from_more_misses_on(attainment):
    found = [threshold(burn.rate, attainment) for burn in BURNS]
    assert found == sorted(found, reverse=True)


def test_the_ratio_is_of_what_counts():
    assert ratio("ocr", "5m") == (
        'sum(rate(regrain_misses_total{app="ocr"}[5m])) / (sum(rate(regrain_misses_total{app="ocr"}[5m]))'
        ' + sum(rate(regrain_hits_total{app="ocr"}[5m])))'
    )


def test_panels_lie_side_by_side_and_have_names_of_their_own():
    panels = dashboard("ocr", 0.95)["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]

    assert len(set(places)) == len({panel["id"] for panel in panels}) == len({one["title"] for one in panels})
    assert all(x in (0, 12) and not y % 8 for x, y in places)
    assert all(len({one["refId"] for one in panel["targets"]}) == len(panel["targets"]) for panel in panels)


def test_a_pods_annotations_and_labels_are_what_is_scraped():
    [config] = job()["scrape_configs"]
    relabelled = {
        (label, rule.get("target_label", rule.get("action")))
        for rule in config["relabel_configs"]
        for label in rule["source_labels"]
    }

    assert ("__meta_kubernetes_pod_annotation_prometheus_io_scrape", "keep") in relabelled
    assert ("__meta_kubernetes_pod_annotation_prometheus_io_port", "__address__") in relabelled
    assert ("__meta_kubernetes_pod_label_faas_function", "app") in relabelled
    assert ("__meta_kubernetes_pod_label_serving_knative_dev_service", "app") in relabelled


@pytest.mark.parametrize(
    ("ip", "address"), [("10.0.0.6", "10.0.0.6:8081"), ("fd00::6", "[fd00::6]:8081"), ("", "as it was")]
)
def test_a_pod_is_scraped_at_its_address_and_the_port_that_it_says(ip, address):
    """Relabelled as Prometheus does it: a rule whose whole pattern fits sets its label."""
    labels = {
        "__address__": "as it was",
        "__meta_kubernetes_pod_ip": ip,
        "__meta_kubernetes_pod_annotation_prometheus_io_port": "8081",
    }
    [config] = job()["scrape_configs"]
    for rule in config["relabel_configs"]:
        if rule.get("target_label") == "__address__":
            found = re.fullmatch(rule["regex"], ";".join(labels[name] for name in rule["source_labels"]))
            if found:
                labels["__address__"] = found.expand(re.sub(r"\$(\d)", r"\\\1", rule["replacement"]))

    assert labels["__address__"] == address
