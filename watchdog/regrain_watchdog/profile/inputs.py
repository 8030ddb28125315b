"""Requests to measure an app with: its sample and further files, as its front would read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regrain.errors import RequestError, SpecError
from regrain.manifest import Manifest, Sample
from regrain.request import Request
from regrain.sample import read_sample
from regrain.wire import measuring
from regrain.wire.codec import pack_inline
from regrain_watchdog.front.content import Inputs


@dataclass(frozen=True, slots=True)
class Body:
    """A request: its size in bytes of its body, and its parameters."""

    size: float
    request: measuring.Request


def bodies(manifest: Manifest, files: Sequence[Path]) -> tuple[list[Body], list[str]]:
    """Return the requests in order of size, one of each size, and what is to be known of others.

    Args:
        manifest: of the app; its sample is one of the requests.
        files: bodies of further ones; of a folder, each file in it.

    Raises:
        SpecError: there is none at all, a file cannot be read, or the app refuses one.
    """
    samples = [("the sample", manifest.sample)] if manifest.sample is not None else []
    samples += [(str(path), read_sample(str(path.absolute()), path.parent)) for path in _files(files)]
    if not samples:
        raise SpecError(
            f"app {manifest.app!r} has no sample; give it one, or --input FILE with a request's body"
        )
    found: dict[float, Body] = {}
    for name, sample in samples:
        found.setdefault(float(len(sample.body)), _body(manifest, name, sample))
    spare = len(samples) - len(found)
    notes = [f"{spare} of {len(samples)} inputs were left out: each has as many bytes as one before it"]
    return [found[size] for size in sorted(found)], notes if spare else []


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    return found


def _body(manifest: Manifest, name: str, sample: Sample) -> Body:
    values = {one.name: one.default for one in manifest.parameters if not one.required}
    raw = next((one.name for one in manifest.parameters if one.kind == "request"), "")
    try:
        given = {raw: _whole(sample)} if raw else _read(manifest, sample)
    except RequestError as error:
        raise SpecError(f"{name} is no request of app {manifest.app!r}: {error.detail}") from error
    values |= {key: pack_inline(value) for key, value in given.items()}
    return Body(float(len(sample.body)), measuring.Request(values))


def _read(manifest: Manifest, sample: Sample) -> dict[str, object]:
    return Inputs(manifest.parameters).read(sample.body, sample.content_type, "")


def _whole(sample: Sample) -> Request:
    headers = {"content-type": sample.content_type}
    return Request(body=sample.body, headers=headers, method="POST", query={}, path="/")
