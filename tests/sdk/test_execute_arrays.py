"""Arrays that a replica makes of JSON may be changed by nobody, as those that came from another process."""

from dataclasses import dataclass

import numpy as np
import pytest

from regrain import App, testing
from regrain.errors import RequestError


@dataclass
class Holder:
    numbers: np.ndarray


TAKEN = [
    pytest.param(Holder, {"numbers": [1.0, 2.0]}, lambda given: given.numbers, id="of a dataclass"),
    pytest.param(list[np.ndarray], [[1.0, 2.0]], lambda given: given[0], id="in a list"),
    pytest.param(np.ndarray, np.array([1.0, 2.0]), lambda given: given, id="by itself"),
]


@pytest.mark.parametrize("grain", ["coarse", "fine"])
@pytest.mark.parametrize(("annotation", "sent", "taken"), TAKEN)
def test_a_stage_that_writes_into_an_array_of_a_parameter_fails_at_any_grain(grain, annotation, sent, taken):
    app = App("writer")

    @app.stage()
    def spoil(given: annotation) -> int:
        taken(given)[0] += 100.0
        return 1

    @app.stage()
    def read(given: annotation, after: int) -> float:
        return float(taken(given)[0])

    @app.flow
    def flow(given: annotation) -> float:
        return read(given, spoil(given))

    with pytest.raises(RequestError, match="read-only") as caught:
        testing.run(app, sent, grain=grain)
    assert (caught.value.status, caught.value.stage) == (500, "spoil")
