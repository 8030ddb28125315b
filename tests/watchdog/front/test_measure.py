import pytest
from prometheus_client.parser import text_string_to_metric_families

from regrain.wire.frames import Timing
from regrain_watchdog.front.call import Call, Span
from regrain_watchdog.front.measure import (
    CANCELLED,
    MISSES_KEPT,
    Gauges,
    GroupTotal,
    Measure,
    StageTotal,
    outcome,
)


def _call(name="c", *spans):
    return Call(id=name, values={}, headers=b"", arrived=0.0, spans=list(spans))


def _finish(measure, *, status=200, seconds=0.01, now=100.0, call=None, method="POST"):
    measure.arrived()
    measure.finished(call or _call(), method=method, status=status, seconds=seconds, now=now)


def _samples(measure):
    text = measure.page()[1].decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("status", "seconds", "latency", "expected"),
    [
        pytest.param(200, 0.1, 0.3, "hit", id="in time"),
        pytest.param(200, 0.3, 0.3, "hit", id="just in time"),
        pytest.param(200, 0.4, 0.3, "late", id="late"),
        pytest.param(200, 9.0, None, "hit", id="no objective"),
        pytest.param(504, 0.3, 0.3, "late", id="deadline passed"),
        pytest.param(503, 0.0, 0.3, "shed", id="no capacity"),
        pytest.param(429, 0.0, 0.3, "shed", id="too many"),
        pytest.param(500, 0.1, 0.3, "failed", id="stage failed"),
        pytest.param(502, 0.1, 0.3, "failed", id="replica died"),
        pytest.param(400, 0.0, 0.3, "", id="malformed"),
        pytest.param(CANCELLED, 0.0, 0.3, "", id="cancelled"),
    ],
)
def test_a_request_hits_or_misses_for_a_reason_or_is_left_out(status, seconds, latency, expected):
    assert outcome(status, seconds, latency) == expected


def test_requests_are_counted_as_of_watchdog_does():
    measure = Measure()
    _finish(measure)
    _finish(measure, seconds=0.3)
    _finish(measure, status=500)
    measure.arrived()

    samples = _samples(measure)

    assert samples["http_requests_total", "200", "POST"] == 2
    assert samples["http_requests_total", "500", "POST"] == 1
    assert samples["http_requests_in_flight",] == 1
    assert samples["http_request_duration_seconds_sum", "200", "POST"] == pytest.approx(0.31)
    assert samples["http_request_duration_seconds_bucket", "0.25", "200", "POST"] == 1
    assert samples["http_request_duration_seconds_bucket", "+Inf", "200", "POST"] == 2


def test_a_made_up_method_makes_no_time_series_of_its_own():
    measure = Measure()
    _finish(measure, method="BREW")

    assert _samples(measure)["http_requests_total", "200", "other"] == 1


def test_hits_and_misses_are_counted_by_reason():
    measure = Measure(latency=0.3)
    for status, seconds in [(200, 0.1), (200, 0.4), (503, 0.0), (500, 0.1), (400, 0.0), (CANCELLED, 0.1)]:
        _finish(measure, status=status, seconds=seconds)

    samples = _samples(measure)

    assert samples["regrain_hits_total",] == 1
    assert [samples["regrain_misses_total", reason] for reason in ("late", "shed", "failed")] == [1, 1, 1]
    assert samples["regrain_cancelled_total",] == 1
    assert measure.summary(100.0).hit_rate == 0.25


def test_what_the_dispatcher_does_is_counted_by_group_and_stage():
    measure = Measure()
    measure.dispatched("a+b", 4, 0.003)
    measure.ran("a+b", 0.0002, [Timing("a", 0.02, 4, 1), Timing("b", 0.04, 12, 3)])
    measure.retried("a+b")
    measure.died("a+b")

    samples = _samples(measure)

    assert samples["regrain_batch_size_bucket", "4.0", "a+b"] == 1
    assert samples["regrain_queue_wait_seconds_sum", "a+b"] == pytest.approx(0.003)
    assert samples["regrain_hop_seconds_sum", "a+b"] == pytest.approx(0.0002)
    assert samples["regrain_stage_seconds_sum", "b"] == pytest.approx(0.04)
    assert samples["regrain_stage_items_total", "b"] == 12
    assert samples["regrain_retries_total", "a+b"] == 1
    assert samples["regrain_replica_deaths_total", "a+b"] == 1


def test_gauges_are_asked_for_on_a_scrape():
    held = Gauges(
        queued={"a": 3},
        replicas={("a", "ready"): 2},
        memory_in_use=10,
        memory_held=20,
        memory_limit=30,
    )

    samples = _samples(Measure(gauges=lambda: held))

    assert samples["regrain_queue_units", "a"] == 3
    assert samples["regrain_replicas", "a", "ready"] == 2
    assert [samples["regrain_shared_memory_bytes", state] for state in ("in_use", "held", "limit")] == [
        10,
        20,
        30,
    ]


def test_the_process_tells_of_itself():
    assert _samples(Measure())["process_resident_memory_bytes",] > 0


def test_a_miss_is_kept_with_its_spans_under_its_call_id():
    measure = Measure(latency=0.3)
    span = Span(group="a", stage="detect", seconds=0.4)
    _finish(measure, seconds=0.45, call=_call("slow", span))
    _finish(measure, seconds=0.1, call=_call("fast"))

    miss = measure.miss("slow")

    assert (miss.reason, miss.seconds, miss.spans) == ("late", 0.45, (span,))
    assert measure.miss("fast") is None


def test_only_the_last_misses_are_kept():
    measure = Measure()
    for number in range(MISSES_KEPT + 1):
        _finish(measure, status=500, call=_call(str(number)))

    assert len(measure.misses) == MISSES_KEPT
    assert measure.miss("0") is None
    assert measure.miss("1") is not None


def test_two_measures_in_one_process_do_not_mix():
    one, other = Measure(), Measure()
    _finish(one)

    assert ("http_requests_total", "200", "POST") not in _samples(other)


def test_totals_add_up_what_groups_and_stages_did():
    measure = Measure()
    measure.dispatched("a+b", 4, 0.01)
    measure.dispatched("a+b", 2, 0.03)
    measure.ran("a+b", 0.001, [Timing(stage="a", seconds=0.2, count=6, calls=2)])

    assert measure.groups() == {"a+b": GroupTotal(batches=2, units=6.0, waited=pytest.approx(0.04))}
    assert measure.stages() == {"a": StageTotal(runs=1, items=6, seconds=0.2)}
