"""Call an app over HTTP as if it were a function: values go out and come back as what they are."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import msgspec
import requests
from requests.auth import AuthBase

from regrain.bearer import bearer
from regrain.errors import RequestError, SpecError
from regrain.hosts import is_loopback
from regrain.lazy_numpy import is_array
from regrain.media import ACCEPT, EVENTS, JSON, decoded, encoded, to_json

_TOLD = ("X-Call-Id", "Retry-After")
_BUNDLE = "REQUESTS_CA_BUNDLE"


class _Problem(msgspec.Struct, frozen=True):
    """What is read of an application/problem+json body."""

    title: str = ""
    status: int = 500
    detail: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """A request's content: a body and its media type, or the parts of a multipart one."""

    body: bytes = b""
    media_type: str = ""
    parts: list[tuple[str, tuple[None, bytes, str]]] | None = None


class _Bearer(AuthBase):
    """Shows a key; as the session's own way, which no other host is told."""

    def __init__(self, key: str) -> None:
        self._shown = bearer(key)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._shown
        return request


class Client:
    """A caller of one app; it keeps its connection. Use one per thread.

    Args:
        url: where the app serves. Over https it must show a certificate that this machine trusts, or that the file
            in the environment's REQUESTS_CA_BUNDLE does.
        timeout: seconds to wait for a connection, and then for each part of the answer.
        key: the invocation key, where the app asks for one.

    Raises:
        SpecError: what is no URL or no key, or a REQUESTS_CA_BUNDLE without certificates.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", *, timeout: float = 10.0, key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SpecError(f"url must be like http://host:8080, was {url!r}")
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()
        if key:
            self._session.auth = _Bearer(key)
        self._session.trust_env = not is_loopback(parts.hostname)  # no proxy stands before one's own machine
        self._session.verify = _trusted() if parts.scheme == "https" else True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def invoke(self, body: object = None, /, **parameters: object) -> object:
        """Send a request and return the answer: what JSON holds, an array, a str, or bytes.

        Args:
            body: the whole request body: bytes as they are, an array as npy, text, else JSON.
            parameters: instead of a body, by the names of the app's parameters; as JSON, or where one of
                them is bytes or an array as multipart.

        Raises:
            RequestError: the app refused or failed; with its status, detail and stage, and in `headers`
                X-Call-Id and Retry-After where sent. 503 if nothing answers there, 502 if what does is not trusted
                or answers otherwise than HTTP has it, 504 if no answer came within the timeout.
            SpecError: both a body and parameters, or a value that cannot be sent.
        """
        if body is not None and parameters:
            raise SpecError("invoke() takes a body or parameters, not both")
        response = self._post(_parts(parameters) if _needs_parts(parameters) else _whole(body, parameters))
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise _error(response)
        return decoded(response.content, response.headers.get("Content-Type", ""))

    def stream(self, body: object = None, /, **parameters: object) -> Iterator[object]:
        """Send a request and yield the items of a streamed answer as they come, as JSON has them.

        Arguments as for `invoke`. The timeout is for the first item, and then from one to the next. To stop early,
        close the iterator: the app then stops as well. An answer that is no stream is one item, as `invoke` returns
        it: that of an app that does not stream, or of a stage that answered in place of the stream.

        Raises:
            RequestError: as for `invoke`; also after items that were good. 502 if the stream broke off.
            SpecError: as for `invoke`.
        """
        if body is not None and parameters:
            raise SpecError("stream() takes a body or parameters, not both")
        content = _parts(parameters) if _needs_parts(parameters) else _whole(body, parameters)
        with self._post(content, accept=f"{EVENTS}, {ACCEPT}", stream=True) as response:
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                raise _error(response)
            content_type = response.headers.get("Content-Type", "")
            try:
                if content_type.startswith(EVENTS):
                    yield from _items(response)
                else:
                    yield decoded(response.content, content_type)
            except requests.RequestException as error:
                raise RequestError(HTTPStatus.BAD_GATEWAY, f"the stream broke off: {error}") from error

    def _post(self, content: _Content, *, accept: str = ACCEPT, stream: bool = False) -> requests.Response:
        headers = {"Accept": accept} | ({"Content-Type": content.media_type} if content.media_type else {})
        try:
            return self._session.post(
                f"{self.url}/",
                data=content.body,
                files=content.parts,
                headers=headers,
                timeout=self._timeout,
                stream=stream,
            )
        except requests.Timeout as error:
            detail = f"no answer from {self.url} within {self._timeout:g} s"
            raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail) from error
        except requests.exceptions.SSLError as error:
            why = getattr(error.args[0], "reason", error)
            detail = f"no TLS with {self.url}: {why}; {_BUNDLE} names the certificates to trust"
            raise RequestError(HTTPStatus.BAD_GATEWAY, detail) from error
        except requests.ConnectionError as error:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"nothing answers at {self.url}") from error
        except requests.RequestException as error:
            detail = f"{self.url} sent no whole HTTP answer: {error}"
            raise RequestError(HTTPStatus.BAD_GATEWAY, detail) from error
        except OSError as error:  # what requests raises by itself where the bundle has gone
            raise RequestError(
                HTTPStatus.BAD_GATEWAY, f"no TLS with {self.url}: {_BUNDLE}: {error}"
            ) from error

    def ready(self) -> bool:
        """Whether the app is there and every group of it has a warm replica."""
        try:
            return (
                self._session.get(f"{self.url}/_/ready", timeout=self._timeout).status_code == HTTPStatus.OK
            )
        except OSError:  # which requests' own are, too
            return False


def _trusted() -> str | bool:
    """Return the file or folder of the certificates to trust, True for those of this machine."""
    path = os.environ.get(_BUNDLE, "")
    if not path:
        return True
    file, folder = (None, path) if os.path.isdir(path) else (path, None)
    try:
        ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:
        raise SpecError(f"{_BUNDLE}: {path} holds no certificates: {error.strerror}") from error
    return path


def _needs_parts(parameters: dict[str, object]) -> bool:
    return any(isinstance(value, bytes) or is_array(value) for value in parameters.values())


def _parts(parameters: dict[str, object]) -> _Content:
    parts = []
    for name, value in parameters.items():
        body, media_type = (to_json(value), JSON) if isinstance(value, str) else encoded(value)
        parts.append((name, (None, body, media_type)))
    return _Content(parts=parts)


def _whole(body: object, parameters: dict[str, object]) -> _Content:
    if body is None and not parameters:
        return _Content()
    content, media_type = encoded(parameters or body)
    return _Content(body=content, media_type=media_type)


def _items(response: requests.Response) -> Iterator[object]:
    """The data of every event; an event `error` is raised."""
    is_error = False
    for line in response.iter_lines(chunk_size=None):
        if line == b"event: error":
            is_error = True
        elif is_error and line.startswith(b"data: "):
            told = line.removeprefix(b"data: ")
            raise _refusal(_problem(told).status, told, response)
        elif line.startswith(b"data: "):
            yield decoded(line.removeprefix(b"data: "), JSON)


def _error(response: requests.Response) -> RequestError:
    return _refusal(response.status_code, response.content, response)


def _refusal(code: int, told: bytes, response: requests.Response) -> RequestError:
    status, problem = _status(code), _problem(told)
    headers = {name: response.headers[name] for name in _TOLD if name in response.headers}
    detail = problem.detail or problem.title or status.phrase
    return RequestError(status, detail, stage=problem.stage, headers=headers)


def _status(code: int) -> HTTPStatus:
    for known in (code, code // 100 * 100):  # of a code that has no name, its class
        with contextlib.suppress(ValueError):
            return HTTPStatus(known)
    return HTTPStatus.BAD_GATEWAY


def _problem(told: bytes) -> _Problem:
    """What a body says went wrong: the problem that it is, or else its first words."""
    try:
        return msgspec.json.decode(told, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Problem(detail=" ".join(told[:200].decode("utf-8", "replace").split()))
