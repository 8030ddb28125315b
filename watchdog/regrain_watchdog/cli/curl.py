"""The curl command that calls an app: the first thing that a user wants to copy."""

from __future__ import annotations

import json
import shlex

from regrain.manifest import Manifest, Parameter

SHORT = 160
"""Bytes of a sample that still reads well in a command line."""
REQUEST = "request"
PLACEHOLDERS = {
    "bytes": "@FILE",
    "str": "TEXT",
    "array": "@FILE.npy;type=application/x-npy",
    "json": "JSON;type=application/json",
}


def example(manifest: Manifest, url: str) -> str:
    """Return a curl command for an app; what the caller must put in is in capitals."""
    url += manifest.path.rstrip("/")
    sample = manifest.sample
    if sample and len(sample.body) <= SHORT and sample.content_type == "application/json":
        return _typed(sample.content_type, f"-d {shlex.quote(sample.body.decode())}", url)
    needed = [parameter for parameter in manifest.parameters if parameter.required]
    if is_raw(manifest):
        return f"curl {url}"
    if len(needed) != 1:
        fields = ["-F " + shlex.quote(f"{one.name}={PLACEHOLDERS.get(one.kind, '@FILE')}") for one in needed]
        return " ".join(["curl", *fields, *([] if fields else ["-X POST"]), url])
    return _one(needed[0], sample.content_type if sample else "application/octet-stream", url)


def is_raw(manifest: Manifest) -> bool:
    """Whether an app takes requests as they are, as a handler and an upstream do."""
    return any(parameter.kind == REQUEST for parameter in manifest.parameters)


def _one(parameter: Parameter, content_type: str, url: str) -> str:
    match parameter.kind:
        case "bytes":
            return _typed(content_type, "--data-binary @FILE", url)
        case "array":
            return _typed("application/x-npy", "--data-binary @FILE.npy", url)
        case "json":
            return _typed("application/json", f"-d {shlex.quote(json.dumps({parameter.name: '...'}))}", url)
        case _:
            return _typed("text/plain", "-d TEXT", url)


def _typed(content_type: str, data: str, url: str) -> str:
    return f"curl -H 'Content-Type: {content_type}' {data} {url}"
