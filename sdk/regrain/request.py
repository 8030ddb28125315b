"""A raw HTTP request and response as values, for stages that speak HTTP themselves.

A stage that takes a Request sees what came in untouched; one that returns a Response says what goes out.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An HTTP request.

    Attributes:
        body: as received.
        headers: names in lower case.
        method: such as "POST".
        query: the first value of each name.
        path: from "/" on, without the query.
    """

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    query: dict[str, str] = field(default_factory=dict)
    path: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP response; without a Content-Type header the body goes out as application/octet-stream."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
