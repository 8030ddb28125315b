import logging
import time

import pytest

from regrain.context import Context, building, context, current_build, entered
from regrain.errors import SpecError
from regrain.manifest import GPUSpec, StageSpec


def test_outside_a_call_there_is_no_context():
    with pytest.raises(SpecError, match="outside a stage"):
        context()


def test_a_stage_sees_the_call_that_it_works_for():
    call = Context(call_id="c1", headers={"x-user": "ada"})

    with entered([call]):
        assert context() is call
        assert context().batch == (call,)
    with pytest.raises(SpecError):
        context()


def test_a_batch_shows_all_of_its_calls_the_first_one_in_front():
    calls = [Context(call_id=f"c{number}") for number in range(3)]

    with entered(calls):
        seen = context()

    assert seen.call_id == "c0"
    assert seen.batch == tuple(calls)


def test_the_outer_call_is_back_after_an_inner_one_even_if_that_fails():
    outer, inner = Context(call_id="outer"), Context(call_id="inner")

    with entered([outer]):
        with pytest.raises(KeyError), entered([inner]):
            raise KeyError
        assert context() is outer


def test_time_left_counts_down_to_zero():
    now = time.monotonic()

    assert Context(call_id="c").time_left() is None
    assert 90 < Context(call_id="c", deadline=now + 100).time_left() <= 100
    assert Context(call_id="c", deadline=now - 1).time_left() == 0.0


def test_a_cancelled_call_is_seen_the_moment_it_is_cancelled():
    cancelled = []
    call = Context(call_id="c", is_cancelled=lambda: bool(cancelled))

    before = call.cancelled
    cancelled.append(True)

    assert (before, call.cancelled) == (False, True)


def test_log_records_carry_the_call_id_beside_the_fields_of_the_stage(caplog):
    with caplog.at_level(logging.INFO, "regrain.stage"), entered([Context(call_id="c7")]):
        context().log.info("read %d lines", 3, extra={"page": "a"})
        context().log.info("done")

    first, second = caplog.records
    assert (first.getMessage(), first.call_id, first.page) == ("read 3 lines", "c7", "a")
    assert second.call_id == "c7"


def test_model_helpers_know_the_stage_that_is_built():
    spec = StageSpec(name="read", digest="", cpu=2.0, gpu=GPUSpec())

    with building("read", spec):
        build = current_build()

    assert (build.stage, build.cpu, build.gpu) == ("read", 2.0, True)
    assert current_build() is None
