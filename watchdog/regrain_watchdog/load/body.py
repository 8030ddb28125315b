"""What is sent: a file as it is, or text with the request's size and widths filled in."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from string import Template

from regrain.errors import SpecError
from regrain_watchdog.simulate.scenario import AppScenario, Offered

OCTETS = "application/octet-stream"
FILLER = "filler"

Content = Callable[[], tuple[bytes, str]]


def contents(app: AppScenario, name: str, load: Offered) -> list[Content]:
    """Return what each request of a load sends; SpecError if the scenario does not say it."""
    count = len(load.arrivals)
    if app.bodies:
        files = [
            (Path(body.file).read_bytes(), body.content_type or type_of(body.file)) for body in app.bodies
        ]
        return [partial(_same, *files[place]) for place in load.bodies]
    if not app.body:
        raise SpecError(
            f"apps.{name} has neither bodies nor a body: there is nothing to send. Name files in bodies, or say the "
            "text in body"
        )
    template = Template(app.body)
    known = {"size", FILLER, *(f"width{place}" for place in range(len(app.widths)))}
    unknown = [key for key in template.get_identifiers() if key not in known]
    if unknown or not template.is_valid():
        raise SpecError(
            f"apps.{name}.body may hold ${', $'.join(sorted(known))} and $$ for a dollar; "
            f"was {('$' + unknown[0]) if unknown else app.body!r}"
        )
    return [
        partial(
            _filled,
            template,
            app.content_type,
            load.arrivals.size[place],
            load.arrivals.widths[place].tolist(),
        )
        for place in range(count)
    ]


def type_of(file: str) -> str:
    """Return the content type that a file's name says."""
    return {".npy": "application/x-npy"}.get(Path(file).suffix) or mimetypes.guess_type(file)[0] or OCTETS


def _same(body: bytes, content_type: str) -> tuple[bytes, str]:
    return body, content_type


def _filled(template: Template, content_type: str, size: float, widths: list[int]) -> tuple[bytes, str]:
    values = {"size": str(round(size))} | {f"width{place}": str(width) for place, width in enumerate(widths)}
    empty = template.substitute(values, filler="").encode()
    missing = max(0, round(size) - len(empty))
    return template.substitute(values, filler="x" * missing).encode() if missing else empty, content_type
