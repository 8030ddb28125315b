"""`POST /build`, which faas-cli calls the remote builder: a signed archive in, a line of JSON for each step out."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from http import HTTPStatus
from pathlib import Path
from typing import IO, Literal, NoReturn

import msgspec
from flask import Blueprint, Response, abort, request
from msgspec import Struct

from regrain.errors import RegrainError
from regrain_watchdog.gateway.build.builder import Builder, Store
from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.build.folders import shared
from regrain_watchdog.gateway.sandbox import BUILDER, Cell, probe
from regrain_watchdog.words import size

logger = logging.getLogger(__name__)

SIGNATURE = "X-Build-Signature"
CHUNK = 1 << 20


class Progress(Struct, frozen=True, kw_only=True):
    """A line of the answer."""

    log: list[str] = []
    image: str = ""
    status: Literal["in_progress", "success", "failed"] = "in_progress"
    error: str = ""


def make(state: Path, store: Store, key: Path, environ: Mapping[str, str]) -> Blueprint:
    """Return the endpoint of a gateway: its folder, its store, the file of its payload secret, its variables."""
    images = shared(state / "images")
    cell = Cell(user=BUILDER, home=str(state / "builds" / "probe"), hidden=str(state), reads=(str(images),))
    means = probe(cell)
    if means.lacking:
        logger.warning("builds are confined less than they could be: %s", means.lacking)
    return blueprint(Builder(state, store, means, environ), key.read_bytes)


def blueprint(builder: Builder, key: Callable[[], bytes]) -> Blueprint:
    """Return the endpoint; `key` reads what requests are signed with."""
    found = Blueprint("build", __name__)

    @found.post("/build")
    def build() -> Response:
        """Build an image from a signed archive."""
        with ExitStack() as stack:
            try:
                draft = stack.enter_context(builder.draft())
                sent = draft / "sent.tar"
                with sent.open("wb") as file:
                    signature = _receive(file, key(), builder)
            except (RegrainError, OSError) as error:
                abort(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            if not hmac.compare_digest(signature.encode(), request.headers.get(SIGNATURE, "").encode()):
                abort(HTTPStatus.UNAUTHORIZED, f"{SIGNATURE} is missing, or not made with the payload secret")
            answer = Response(_lines(builder, draft, sent), mimetype="application/x-ndjson")
            answer.call_on_close(stack.pop_all().close)
        return answer

    return found


def _receive(file: IO[bytes], key: bytes, builder: Builder) -> str:
    """Write the request's body to a file; return the signature that it should have. BuildError if the disk is short."""
    limit = builder.limits.archive.sent
    digest = hmac.new(key.strip(), digestmod=hashlib.sha256)
    if (request.content_length or 0) > limit:
        _too_large(limit)
    while chunk := request.stream.read(CHUNK):
        try:
            builder.require(len(chunk))
        except BuildError:  # to a client that still sends the answer may be lost
            _drop(limit - file.tell())
            raise
        digest.update(chunk)
        if file.write(chunk) and file.tell() > limit:
            _too_large(limit)
    return f"sha256={digest.hexdigest()}"


def _drop(limit: int) -> None:
    """Read what is left of a request's body, so many bytes at most."""
    while limit > 0 and (chunk := request.stream.read(CHUNK)):
        limit -= len(chunk)


def _lines(builder: Builder, draft: Path, sent: Path) -> Iterator[bytes]:
    """Build, and yield what is to be said of it; ends with the image or the reason why there is none."""
    try:
        with closing(builder.build(draft, sent)) as steps:
            while True:
                yield _encode(Progress(log=next(steps)))
    except StopIteration as end:
        yield _encode(Progress(image=end.value.name, status="success"))
    except RegrainError as error:
        logger.warning("a build failed: %s", error)
        yield _failed(str(error))
    except Exception:  # the answer has begun, so nobody else can tell the client
        logger.exception("a build failed")
        yield _failed("the gateway failed at this; its log says how")


def _failed(reason: str) -> bytes:
    return _encode(Progress(log=[f"failed: {reason}"], status="failed", error=reason))


def _encode(progress: Progress) -> bytes:
    return msgspec.json.encode(progress) + b"\n"


def _too_large(limit: int) -> NoReturn:
    abort(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the archive has more than {size(limit)}")
