"""Find the files that an app names: beside its own file, by path, or inside an installed package.

A package is looked up and never imported: finding a model must neither run code nor load what goes unused.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from regrain.errors import LoadError

_IN_PACKAGE = re.compile(r"([A-Za-z_][\w.]*):(?!//)(.+)", re.ASCII)


def find(source: str, beside: Path) -> Path:
    """Return the file that `source` names.

    Args:
        source: "package:path/in/package", an absolute path, or a path relative to `beside` (else to the
            working directory).
        beside: the folder of the app's file.

    Raises:
        LoadError: there is no such package or file; one line that says where it was looked for.
    """
    match = _IN_PACKAGE.fullmatch(source)
    places = [_folder(match[1], source) / match[2]] if match else [beside / source, Path.cwd() / source]
    for place in places:
        if place.is_file():
            return place
    looked = " and ".join(dict.fromkeys(str(place) for place in places))
    raise LoadError(f"no file {source!r}: looked for {looked}")


def _folder(package: str, source: str) -> Path:
    """Return a package's folder. Only the first name is looked up, for a parent's look-up would import it."""
    top, *inner = package.split(".")
    spec = find_spec(top)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    if not locations:
        raise LoadError(f"no file {source!r}: the package {top!r} is not installed")
    return Path(locations[0], *inner)
