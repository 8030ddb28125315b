"""Call an app over HTTP as if it were a function: values go out and come back as what they are."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import msgspec
import numpy as np
import requests

from regrain.errors import RequestError, SpecError
from regrain.media import ACCEPT, JSON, decoded, encoded, to_json

_TOLD = ("X-Call-Id", "Retry-After")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Problem(msgspec.Struct, frozen=True):
    """What is read of an application/problem+json body."""

    title: str = ""
    detail: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """A request's content: a body and its media type, or the parts of a multipart one."""

    body: bytes = b""
    media_type: str = ""
    parts: list[tuple[str, tuple[None, bytes, str]]] | None = None


class Client:
    """A caller of one app; it keeps its connection. Use one per thread.

    Args:
        url: where the app serves.
        timeout: seconds to wait for a connection, and then for each part of the answer.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", *, timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SpecError(f"url must be like http://host:8080, was {url!r}")
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()
        self._session.trust_env = parts.hostname not in _LOOPBACK  # no proxy stands before one's own machine

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
                X-Call-Id and Retry-After where sent. 503 if nothing answers there, 504 if no answer came
                within the timeout.
            SpecError: both a body and parameters, or a value that cannot be sent.
        """
        if body is not None and parameters:
            raise SpecError("invoke() takes a body or parameters, not both")
        response = self._post(_parts(parameters) if _needs_parts(parameters) else _whole(body, parameters))
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise _error(response)
        return decoded(response.content, response.headers.get("Content-Type", ""))

    def _post(self, content: _Content) -> requests.Response:
        headers = {"Accept": ACCEPT} | ({"Content-Type": content.media_type} if content.media_type else {})
        try:
            return self._session.post(
                f"{self.url}/", data=content.body, files=content.parts, headers=headers, timeout=self._timeout
            )
        except requests.Timeout as error:
            detail = f"no answer from {self.url} within {self._timeout:g} s"
            raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail) from error
        except requests.ConnectionError as error:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"nothing answers at {self.url}") from error
        except requests.RequestException as error:
            detail = f"{self.url} sent no whole HTTP answer: {error}"
            raise RequestError(HTTPStatus.BAD_GATEWAY, detail) from error

    def ready(self) -> bool:
        """Whether the app is there and every group of it has a warm replica."""
        try:
            return (
                self._session.get(f"{self.url}/_/ready", timeout=self._timeout).status_code == HTTPStatus.OK
            )
        except requests.RequestException:
            return False


def _needs_parts(parameters: dict[str, object]) -> bool:
    return any(isinstance(value, bytes | np.ndarray) for value in parameters.values())


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


def _error(response: requests.Response) -> RequestError:
    try:
        status = HTTPStatus(response.status_code)
    except ValueError:  # a code that has no name
        status = HTTPStatus(response.status_code // 100 * 100)
    headers = {name: response.headers[name] for name in _TOLD if name in response.headers}
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.MsgspecError:
        detail = " ".join(response.content[:200].decode("utf-8", "replace").split())
        return RequestError(status, detail or status.phrase, headers=headers)
    detail = problem.detail or problem.title or status.phrase
    return RequestError(status, detail, stage=problem.stage, headers=headers)
