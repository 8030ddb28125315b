from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from regrain.errors import SpecError
from regrain_watchdog.load.body import contents, type_of
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.simulate.arrivals import Phase, Poisson
from regrain_watchdog.simulate.scenario import AppScenario, Body, Offered
from regrain_watchdog.simulate.sizes import Fixed

LOAD = (Phase(10.0, Poisson(1.0)),)


def offered(sizes: list[float], widths: list[int], bodies: list[int]) -> Offered:
    count = len(sizes)
    arrivals = Arrivals(
        np.arange(count, dtype=float),
        np.array(sizes),
        np.array(widths, dtype=np.int32).reshape(count, -1),
        10.0,
    )
    return Offered(arrivals, np.array(bodies))


def test_files_are_sent_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "b.bin").write_bytes(b"\0\1")
    bodies = (Body(str(tmp_path / "a.png")), Body(str(tmp_path / "b.bin"), content_type="application/x-own"))
    app = AppScenario(module="app.py", load=LOAD, bodies=bodies)

    made = [content() for content in contents(app, "app", offered([7, 2], [1, 1], [0, 1]))]

    assert made == [(b"picture", "image/png"), (b"\0\1", "application/x-own")]


def test_text_is_filled_with_what_each_request_has() -> None:
    body = '{"n": $width0, "size": $size, "text": "$filler"}'
    app = AppScenario(module="app.py", load=LOAD, body=body, widths=(Fixed(3),))

    made = [content() for content in contents(app, "app", offered([100, 5], [3, 8], [-1, -1]))]

    first, second = (json.loads(data) for data, _ in made)
    assert (first["n"], first["size"], len(made[0][0])) == (3, 100, 100)
    assert (second["n"], second["text"]) == (8, "")
    assert made[0][1] == "application/json"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "apps.app has neither bodies nor a body"),
        (
            "$widht0",
            r"apps\.app\.body may hold \$filler, \$size, \$width0 and \$\$ for a dollar; was '\$widht0'",
        ),
        ("$width1", r"was '\$width1'"),
        ("5 $", r"was '5 \$'"),
    ],
)
def test_what_cannot_be_filled_is_refused(body: str, said: str) -> None:
    app = AppScenario(module="app.py", load=LOAD, body=body, widths=(Fixed(3),))

    with pytest.raises(SpecError, match=said):
        contents(app, "app", offered([1], [1], [-1]))


@pytest.mark.parametrize(
    ("file", "kind"),
    [("a.npy", "application/x-npy"), ("a.json", "application/json"), ("a.thing", "application/octet-stream")],
)
def test_a_name_says_what_a_file_is(file: str, kind: str) -> None:
    assert type_of(file) == kind
