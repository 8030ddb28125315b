"""Headers that a stage gives its error, as far as they may go out beside it.

The front writes the response, and a replica runs whatever its stages do: both hold headers to this.
"""

from __future__ import annotations

import re

MOST = 16
"""Headers of an error at most."""
ROOM = 4096
"""Characters of their names and texts together at most."""
OWN = frozenset(
    {
        "connection",
        "date",
        "keep-alive",
        "proxy-connection",
        "server",
        "server-timing",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-call-id",
        "x-duration-seconds",
    }
)
"""What belongs to the connection, or is written by the front itself; so does all that tells of the body (CONTENT)."""
CONTENT = "content-"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")


def sendable(given: object) -> dict[str, str]:
    """Return the headers that can be sent with an error, their names in lower case.

    Left out are those of the front, those that are no names or no ASCII text on one line, and what is over MOST or
    ROOM.
    """
    if not isinstance(given, dict):
        return {}
    found: dict[str, str] = {}
    room = ROOM
    for named, told in given.items():
        if len(found) == MOST:
            break
        if not isinstance(named, str) or not isinstance(told, str):
            continue
        name, text = named.lower(), told[:]
        is_own = name in OWN or name.startswith(CONTENT)
        if is_own or not _NAME.fullmatch(name) or not (text.isascii() and text.isprintable()):
            continue
        if len(name) + len(text) <= room:
            room -= len(name) + len(text)
            found[name] = text
    return found
