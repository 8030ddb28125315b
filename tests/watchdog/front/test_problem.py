import json
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front.problem import internal, problem


def test_a_problem_tells_status_reason_call_and_stage():
    error = RequestError(HTTPStatus.BAD_GATEWAY, "its replica died", stage="detect")

    assert json.loads(problem(error, "c1")) == {
        "title": "Bad Gateway",
        "status": 502,
        "detail": "its replica died",
        "call_id": "c1",
        "stage": "detect",
    }


def test_a_problem_without_a_stage_names_none():
    assert "stage" not in json.loads(problem(RequestError(HTTPStatus.NOT_FOUND, "no"), "c1"))


def test_an_internal_error_tells_only_where_to_look():
    error = internal("c9")

    assert (error.status, "c9" in error.detail) == (500, True)
