"""Why nobody answered a request."""

from __future__ import annotations

import requests


def reason(error: requests.RequestException) -> str:
    """Why a request came to nothing, without the names of the libraries below."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror.lower()
        cause = inner.args[0] if inner.args and isinstance(inner.args[0], BaseException) else None
        inner = getattr(inner, "reason", None) or cause or inner.__cause__
    return type(error).__name__
