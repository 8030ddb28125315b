"""A call's parameters on their way into shared memory, where a stage takes a list item by item."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

import pytest
from msgspec import Meta

from regrain.app import App
from regrain.errors import RequestError
from regrain.grain import make_plan
from regrain.graph import Ref
from regrain_watchdog.front.call import MAX_ITEMS, Call
from regrain_watchdog.front.flight import Flight
from regrain_watchdog.front.route import make_route
from regrain_watchdog.front.segments import Pool
from regrain_watchdog.front.values import Values


@dataclass
class Point:
    x: float


@pytest.fixture
def pool():
    made = Pool(64 << 20)
    yield made
    made.close()


def entered(pool: Pool, annotation: object, points: object) -> int:
    """Return how many items a parameter of this type enters a fine plan with."""
    app = App("points")

    @app.stage()
    def use(point: Point) -> float:
        return point.x

    @app.flow
    def run(points: annotation) -> list[float]:
        return use.map(points)

    manifest = app.manifest()
    route = make_route(manifest.graph, make_plan(manifest, "fine"))
    call = Call(id="c", values={"points": points}, headers=b"", arrived=0.0)
    parts = Values(manifest, route, pool).enter(Flight(route, call))[Ref("$points")]
    assert parts.split
    return len(parts.values)


LIMITED = Annotated[list[Point], Meta(min_length=1, max_length=2)]
POINT = {"x": 1.0}


@pytest.mark.parametrize(
    ("annotation", "count"),
    [(list[Point], 0), (list[Point], 9), (LIMITED, 1), (LIMITED | None, 2), (tuple[Point, Point], 2)],
    ids=str,
)
def test_a_list_that_fits_its_type_enters_item_by_item(pool, annotation, count):
    assert entered(pool, annotation, [POINT] * count) == count


@pytest.mark.parametrize(
    ("annotation", "points", "said"),
    [
        (LIMITED, [], "parameter 'points': expected 1 to 2 items, got 0"),
        (LIMITED | None, [POINT] * 3, "parameter 'points': expected 1 to 2 items, got 3"),
        (tuple[Point, Point], [POINT], "parameter 'points': expected 2 items, got 1"),
        (Annotated[list[Point], Meta(min_length=2)], [POINT], "expected at least 2 items, got 1"),
        (list[Point] | None, None, "parameter 'points' is a NoneType"),
    ],
    ids=str,
)
def test_a_list_of_another_length_than_its_type_allows_is_the_callers_fault(pool, annotation, points, said):
    with pytest.raises(RequestError, match=said) as caught:
        entered(pool, annotation, points)

    assert caught.value.status is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("grain", ["fine", "coarse"])
def test_a_list_of_more_items_than_may_be_mapped_over_is_refused_at_any_grain(pool, grain):
    app = App("numbers")

    @app.stage()
    def use(number: int) -> int:
        return number

    @app.stage()
    def total(numbers: list[int], whole: list[int]) -> int:
        return sum(numbers) + sum(whole)

    @app.flow
    def run(numbers: list[int], whole: list[int]) -> int:
        return total(use.map(numbers), whole)

    manifest = app.manifest()
    route = make_route(manifest.graph, make_plan(manifest, grain))
    values = Values(manifest, route, pool, max_items=3)

    def enter(count):
        given = {"numbers": [1] * count, "whole": [2] * 9}
        return values.enter(Flight(route, Call(id="c", values=given, headers=b"", arrived=0.0)))

    assert enter(3)
    with pytest.raises(RequestError, match=r"'numbers' has 4 items, over 3 \(REGRAIN_MAX_ITEMS\)") as caught:
        enter(4)
    assert caught.value.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_without_a_setting_a_list_is_bounded_too(pool):
    assert entered(pool, list[Point], [POINT] * MAX_ITEMS) == MAX_ITEMS
    with pytest.raises(RequestError, match="REGRAIN_MAX_ITEMS"):
        entered(pool, list[Point], [POINT] * (MAX_ITEMS + 1))
