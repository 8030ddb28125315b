"""Speak HTTP with a platform: bounded in time and size, tried again where that may help, redirects not followed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import IO
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth

from regrain.errors import SpecError
from regrain.hosts import names_loopback
from regrain_watchdog.platforms.platform import BusyError, Patience, PlatformError, UnavailableError
from regrain_watchdog.platforms.unanswered import reason

SIZE = 16 << 20
"""Bytes of an answer at most."""
PIECE = 1 << 16
PASSING = frozenset({429, 500, 502, 503, 504})
"""Statuses that another try may not get."""
TOLD = 300
"""Characters of an answer that an error repeats."""
OK, REDIRECT, UNAUTHORIZED, BUSY = 200, 300, 401, 503


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password (HTTP Basic)."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a platform answered: its status and its body, and to which try: an earlier one may have done it."""

    status: int
    body: bytes
    number: int = 1

    @property
    def text(self) -> str:
        """The body as a sentence of an error."""
        return brief(self.body[: 4 * TOLD].decode(errors="replace"))


class Rest:
    """A platform's HTTP API.

    Args:
        url: of the platform, as `address` gives it.
        credentials: None for none.
        patience: how long it may take.
    """

    def __init__(self, url: str, credentials: Credentials | None, patience: Patience) -> None:
        self.url = url
        self._patience = patience
        self._session = requests.Session()
        self._session.trust_env = not names_loopback(url)  # a proxy has no part in what goes over loopback
        self._session.headers.update({"User-Agent": "regrain", "Accept-Encoding": "identity"})
        self._session.auth = _NoAuth() if credentials is None else _basic(credentials)

    def ask(
        self, method: str, path: str, sent: bytes | None = None, query: Mapping[str, str] | None = None
    ) -> Answer:
        """Return what is answered to a request that may be made twice, if it is no failure of the platform."""
        tries = itertools.count(1)

        def ask() -> Answer:
            number = next(tries)
            return replace(self._once(method, path, sent, query or {}), number=number)

        return self._patience.ask(ask)

    def close(self) -> None:
        """Give back the connections."""
        self._session.close()

    def refused(self, method: str, path: str, answer: Answer) -> PlatformError:
        """Return the error that an answer of a wrong status is."""
        said = f": {answer.text}" if answer.text else ""
        what = f"{self.url} answered {answer.status} to {method} {path}{said}"
        if answer.status == BUSY:
            return BusyError(what)
        return UnavailableError(what) if answer.status in PASSING else PlatformError(what)

    def lines(
        self, path: str, sent: IO[bytes], headers: Mapping[str, str], seconds: float
    ) -> Iterator[bytes]:
        """POST a file and yield the lines of the answer as they come, within so many seconds.

        It is sent again only to one who was busy, as where the gateway's control plane starts.
        """

        def begin() -> tuple[requests.Response, Iterator[bytes]]:
            sent.seek(0)
            response = self._open("POST", path, sent, headers=headers, limit=seconds)
            pieces = self._pieces(response, path, time.monotonic() + seconds)
            if response.status_code in range(OK, REDIRECT):
                return response, pieces
            with response:
                raise self.refused("POST", path, Answer(response.status_code, b"".join(pieces)))

        response, pieces = self._patience.ask(begin, passing=BusyError)
        with response:
            rest = b""
            for piece in pieces:
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
            if rest:
                yield rest

    def _once(self, method: str, path: str, sent: bytes | None, query: Mapping[str, str]) -> Answer:
        limit = self._patience.answer
        headers = {} if sent is None else {"Content-Type": "application/json"}
        with self._open(method, path, sent, query=query, headers=headers, limit=limit) as response:
            answer = Answer(
                response.status_code, b"".join(self._pieces(response, path, time.monotonic() + limit))
            )
        if answer.status == UNAUTHORIZED:
            raise PlatformError(f"{self.url} refuses this user and password, or asks for one")
        if answer.status in PASSING:
            raise self.refused(method, path, answer)
        return answer

    def _open(
        self,
        method: str,
        path: str,
        sent: bytes | IO[bytes] | None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        limit: float,
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                self.url + path,
                params=query,
                data=sent,
                headers=headers,
                timeout=(min(limit, self._patience.answer), limit),
                stream=True,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise UnavailableError(f"{self.url} does not answer: {reason(error)}") from error

    def _pieces(self, response: requests.Response, path: str, end: float) -> Iterator[bytes]:
        size = 0
        while True:
            try:
                piece = response.raw.read1(PIECE)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise UnavailableError(
                    f"{self.url} broke off its answer to {path}: {type(error).__name__}"
                ) from error
            if not piece:
                return
            size += len(piece)
            if size > SIZE:
                raise PlatformError(f"{self.url} answers {path} with more than {SIZE} bytes")
            if time.monotonic() > end:
                raise UnavailableError(f"{self.url} takes too long for its answer to {path}")
            yield piece


class _NoAuth(requests.auth.AuthBase):
    """Send no credentials, whatever a file of this user's says (~/.netrc)."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def brief(text: str) -> str:
    """Return what a platform says as a part of one line: no control characters, and not all of a long one."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:TOLD]


def address(url: str) -> str:
    """Return a platform's URL as requests use it; SpecError if it can be none."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        _ = parts.port
    except ValueError as error:  # it is not repeated: a password may be in it
        raise SpecError("--gateway: http:// or https:// and a host, with a port that is a number") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(f"--gateway: http:// or https:// and a host, was {url!r}")
    if parts.username is not None or parts.password is not None:
        raise SpecError(f"--gateway: name no user or password in the address of {parts.hostname}")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def is_open(url: str) -> bool:
    """Whether what goes to an address can be read on its way."""
    return urlsplit(url).scheme == "http" and not names_loopback(url)


def _basic(credentials: Credentials) -> HTTPBasicAuth:
    return HTTPBasicAuth(credentials.user.encode(), credentials.password.encode())
