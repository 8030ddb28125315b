"""Find the request that an app is tried and warmed up with."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec

from regrain.errors import SpecError
from regrain.manifest import Sample

OCTETS = "application/octet-stream"
TYPES = {".npy": "application/x-npy", ".json": "application/json", ".txt": "text/plain"}
"""What mimetypes does not know, or knows differently from one machine to the next."""
LARGEST = 47 << 20
"""Bytes of a sample at most: the manifest has it as base64 and goes in one frame (regrain.wire.frames.MAX_FRAME)."""


def read_sample(sample: str | bytes | Mapping[str, object], folder: Path) -> Sample:
    """Return a sample as the body of a request.

    Args:
        sample: a path (relative ones start at `folder`), "package:path/in/package", the body itself, or the
            values of a JSON body by parameter.
        folder: where the app's file is.

    Raises:
        SpecError: there is no such file, a value is none that JSON can carry, or it is larger than 47 MiB.
    """
    if isinstance(sample, bytes):
        return _sized(Sample(content_type=OCTETS, body=sample), "the sample")
    if isinstance(sample, Mapping):
        try:
            body = msgspec.json.encode(dict(sample))
        except (TypeError, ValueError) as error:
            raise SpecError(f"the sample cannot be written as JSON: {error}; give bytes or a file") from error
        return _sized(Sample(content_type=TYPES[".json"], body=body), "the sample")
    path = _path(sample, folder)
    try:
        with path.open("rb") as file:
            body = file.read(LARGEST + 1)
    except OSError as error:
        allowed = 'a path from the app\'s file, an absolute path, and "package:path/in/package"'
        raise SpecError(
            f"sample {sample!r} cannot be read: {error.strerror or error} ({path}); allowed are {allowed}"
        ) from error
    return _sized(Sample(content_type=_type(path), body=body), f"sample {sample!r}")


def _sized(sample: Sample, name: str) -> Sample:
    if len(sample.body) > LARGEST:
        raise SpecError(f"{name} is too large; allowed are {LARGEST >> 20} MiB")
    return sample


def _path(sample: str, folder: Path) -> Path:
    package, colon, inside = sample.partition(":")
    if not colon or not all(part.isidentifier() for part in package.split(".")):
        return folder / sample
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SpecError(f"sample {sample!r}: no package {package!r} is installed")
    return Path(next(iter(spec.submodule_search_locations))) / inside


def _type(path: Path) -> str:
    return TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or OCTETS
