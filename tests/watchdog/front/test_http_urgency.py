import pytest


def test_a_call_gets_its_deadline_and_priority_from_its_headers(serve):
    served = serve()

    served.post(b"x", X_Timeout="1m30s", X_Regrain_Priority="2")

    [call] = served.service.calls
    assert call.deadline == pytest.approx(call.arrived + 90.0)
    assert (call.firm, call.priority) == (True, 2)


def test_a_caller_cannot_raise_the_deadline_of_the_objective(serve, app_of):
    served = serve(app_of(slo=0.5))

    served.post(b"x", X_Timeout="10s")

    [call] = served.service.calls
    assert call.deadline == pytest.approx(call.arrived + 0.5)
    assert call.firm is False


@pytest.mark.parametrize(
    ("header", "text"),
    [("X-Timeout", "soon"), ("X-Regrain-Deadline-Ms", "-5"), ("X-Regrain-Priority", "high")],
)
def test_a_header_that_says_neither_is_400_and_named(serve, header, text):
    served = serve()

    answer = served.post(b"x", **{header.replace("-", "_"): text})

    assert answer.status == 400
    assert header in answer.json["detail"]
    assert text in answer.json["detail"]
    assert served.service.calls == []
