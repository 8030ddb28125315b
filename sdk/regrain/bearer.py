"""How a caller shows the invocation key."""

from __future__ import annotations

from regrain.errors import SpecError


def bearer(key: str) -> str:
    """Return what the header Authorization says; SpecError for what is no key, which the error does not tell."""
    if not all("!" <= letter <= "~" for letter in key):
        raise SpecError(
            "key must be of ASCII letters, digits and signs alone; does a file's line end belong to it?"
        )
    return f"Bearer {key}"
