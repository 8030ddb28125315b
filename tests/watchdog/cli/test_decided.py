"""What is counted of a controller from looks at its last decision."""

import pytest

from regrain.plan import Plan
from regrain_watchdog.cli.decided import Decided
from regrain_watchdog.control.decision import Decision, Told
from regrain_watchdog.load.report import Decisions

PLAN = Plan(())


def decision(number: int, reason: str = "BEST", plan: Plan | None = None) -> Decision:
    present = Told(plan=PLAN, grain="a", cost=1.0)
    return Decision(
        number=number, at=0.0, woken="period", reason=reason, sentence="", plan=plan, present=present
    )


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        pytest.param([], None, id="nobody was asked"),
        pytest.param([None, None], Decisions(made=0, changes=0, reasons={}), id="nothing"),
        pytest.param([decision(7)] * 3, Decisions(made=0, changes=0, reasons={}), id="before"),
        pytest.param(
            [decision(7), decision(8, "CHEAPER", PLAN), decision(8, "CHEAPER", PLAN), decision(9)],
            Decisions(made=2, changes=1, reasons={"CHEAPER": 1, "BEST": 1}),
            id="one by one",
        ),
        pytest.param(
            [None, decision(1), decision(4)], Decisions(made=4, changes=0, reasons={"BEST": 2}), id="between"
        ),
        pytest.param(
            [decision(7), decision(9), decision(2), decision(3)],
            Decisions(made=5, changes=0, reasons={"BEST": 3}),
            id="anew",
        ),
        pytest.param(
            [decision(7), None, decision(1), decision(1, "CHEAPER")],
            Decisions(made=2, changes=0, reasons={"BEST": 1, "CHEAPER": 1}),
            id="anew and again",
        ),
        pytest.param(
            [None, decision(500), decision(502)],
            Decisions(made=3, changes=0, reasons={"BEST": 2}),
            id="one that decided long before it was seen to",
        ),
        pytest.param(
            [decision(7), None, decision(9)],
            Decisions(made=2, changes=0, reasons={"BEST": 1}),
            id="unseen for a while",
        ),
        pytest.param(
            [decision(7), None, decision(3)],
            Decisions(made=3, changes=0, reasons={"BEST": 1}),
            id="anew and unseen for a while",
        ),
    ],
)
def test_decisions_are_counted_from_the_first_look_on(
    seen: list[Decision | None], found: Decisions | None
) -> None:
    decided = Decided()

    for told in seen:
        decided.take(told)

    assert decided.so_far() == found
