import time

import pytest

from regrain.errors import SpecError
from regrain.manifest import loads
from regrain_watchdog.front.admin import Admin, MetricsPage
from regrain_watchdog.front.call import Call, Span
from regrain_watchdog.front.measure import Measure


@pytest.fixture
def measure():
    measure = Measure(latency=0.3)
    for name in ("c1", "c2", "order/7"):
        measure.arrived()
        call = Call(id=name, values={}, headers=b"", arrived=0.0)
        call.spans.append(Span(group="a", stage="detect", seconds=0.35))
        measure.finished(call, method="POST", status=200, seconds=0.4, now=time.monotonic())
    return measure


@pytest.fixture
def admin(listen, app_of, measure):
    return listen(Admin(app_of(slo=0.3), measure, lambda: {"app": "echo", "state": "ready"}))


def test_status_is_told_as_it_is(admin):
    assert admin.request("GET", "/status").json == {"app": "echo", "state": "ready"}


def test_the_manifest_is_served_as_it_is(admin, app_of):
    assert loads(admin.request("GET", "/manifest").body) == app_of(slo=0.3)


def test_the_last_misses_come_newest_first(admin):
    assert [miss["call_id"] for miss in admin.request("GET", "/slow?limit=2").json] == ["order/7", "c2"]


def test_a_miss_is_found_by_its_call_id(admin):
    miss = admin.request("GET", "/slow/order%2F7").json

    assert (miss["reason"], miss["seconds"], miss["slo"]) == ("late", 0.4, 0.3)
    assert miss["spans"][0]["stage"] == "detect"
    assert miss["at"] == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/slow/unknown", 404, "no miss of call id 'unknown'"),
        ("GET", "/slow?limit=0", 400, "limit was '0', allowed are 1 to"),
        ("GET", "/slow?limit=x", 400, "limit was 'x'"),
        pytest.param("GET", "/slow?limit=" + "9" * 5000, 400, "999', allowed are 1 to", id="endless limit"),
        ("GET", "/nothing", 404, "/status, /manifest, /slow"),
        ("POST", "/status", 405, "allowed are GET, HEAD"),
    ],
)
def test_a_wrong_question_is_refused_saying_what_may_be_asked(admin, method, path, status, detail):
    answer = admin.request(method, path)

    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in answer.json["detail"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "[", ""])
def test_a_request_that_names_another_host_is_refused(admin, host):
    assert admin.request("GET", "/status", headers={"Host": host}).status in (400, 403)


def test_localhost_is_answered(admin):
    assert admin.request("GET", "/status", headers={"Host": "localhost:1"}).status == 200


def test_the_admin_api_listens_on_loopback_alone(app_of):
    with pytest.raises(SpecError, match=r"on loopback, not on 0\.0\.0\.0"):
        Admin(app_of(), Measure(), dict, host="0.0.0.0")


def test_metrics_are_served_for_prometheus(listen, measure):
    client = listen(MetricsPage(measure))

    answer = client.request("GET", "/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert b'regrain_misses_total{reason="late"} 3.0' in answer.body
    assert client.request("GET", "/").status == 404
    assert client.request("POST", "/metrics").status == 405
