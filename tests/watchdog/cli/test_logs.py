import json
import logging

import pytest

from regrain.lines import Json, Text
from regrain_watchdog.cli.logs import Echo


@pytest.fixture
def logger(request):
    """A logger of its own that writes to stderr in the form that the test asks for."""
    handler = Echo()
    handler.setFormatter(request.param)
    logger = logging.getLogger("test.logs")
    logger.propagate = False
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


@pytest.mark.parametrize("logger", [Json()], indirect=True)
def test_a_record_is_an_object_with_its_fields(logger, capsys):
    logger.warning("replica %s died", 7, extra={"group": "decode", "path": object})

    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "test.logs",
        "event": "replica 7 died",
        "group": "decode",
        "path": "<class 'object'>",
    }


@pytest.mark.parametrize("logger", [Text()], indirect=True)
def test_a_record_is_a_line_for_people(logger, capsys):
    logger.warning("replica died", extra={"group": "decode"})

    assert capsys.readouterr().err.endswith(" warning test.logs: replica died group=decode\n")


@pytest.mark.parametrize("logger", [Json(), Text()], indirect=True, ids=["json", "text"])
def test_an_exception_comes_with_its_traceback(logger, capsys):
    try:
        raise ValueError("three")
    except ValueError:
        logger.exception("it failed")

    err = capsys.readouterr().err
    assert "it failed" in err
    assert "ValueError: three" in err


@pytest.mark.parametrize("logger", [Json(), Text()], indirect=True, ids=["json", "text"])
def test_a_traceback_without_an_end_lacks_its_middle(logger, capsys):
    def again(back):
        back(again)  # two functions in turns, which Python does not sum up

    def back(again):
        again(back)

    try:
        again(back)
    except RecursionError:
        logger.exception("it failed")

    err = capsys.readouterr().err
    assert "RecursionError" in err
    assert "test_a_traceback_without_an_end" in err
    assert " more ..." in err
    assert len(err) < 20_000


@pytest.mark.parametrize("logger", [Json(), Text()], indirect=True, ids=["json", "text"])
def test_what_an_exception_came_of_is_told_however_deep_both_were_raised(logger, capsys):
    def deep(depth, fail):
        other(depth - 1, fail) if depth else fail()

    def other(depth, fail):
        deep(depth - 1, fail) if depth else fail()

    def cause():
        raise ValueError("what it came of")

    def wrap():
        try:
            deep(25, cause)
        except ValueError as error:
            raise RuntimeError("what came of it") from error

    try:
        deep(25, wrap)
    except RuntimeError:
        logger.exception("it failed")

    err = capsys.readouterr().err
    assert "ValueError: what it came of" in err
    assert "direct cause" in err
    assert "RuntimeError: what came of it" in err


@pytest.mark.parametrize("logger", [Json(), Text()], indirect=True, ids=["json", "text"])
def test_exceptions_that_lead_to_one_another_without_an_end_lack_their_middle(logger, capsys):
    def again(depth):
        try:
            if depth:
                again(depth - 1)
            raise ValueError("the first")
        except ValueError as error:
            raise ValueError(f"the one at {depth}") from error

    try:
        again(200)
    except ValueError:
        logger.exception("it failed")

    err = capsys.readouterr().err
    assert "ValueError: the first" in err
    assert "ValueError: the one at 200" in err
    assert "ValueError: the one at 100" not in err
