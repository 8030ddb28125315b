"""`regrain invoke`: one request to a running app, its answer on stdout and how it went on stderr."""

from __future__ import annotations

import os
import sys
import time
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec
import requests

from regrain.errors import RegrainError, SpecError
from regrain.manifest import Manifest
from regrain.media import LINES
from regrain_watchdog.cli import admin, request
from regrain_watchdog.cli.curl import is_raw
from regrain_watchdog.cli.durations import above_zero
from regrain_watchdog.cli.progress import working
from regrain_watchdog.cli.request import Body
from regrain_watchdog.platforms.unanswered import reason
from regrain_watchdog.words import duration

TIMEOUT = "300s"
OWN = 'realm="regrain"'
"""By which the 401 of a key that was not shown is told from one that an app answers by itself."""


class InvokeError(RegrainError):
    """The request came to nothing, or its answer is an error."""


@click.command("invoke")
@click.argument("body", required=False)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter: JSON, text, or @file. Repeatable.",
)
@click.option("--sample", is_flag=True, help="Send the app's own sample.")
@click.option("--type", "content_type", default="", help="Content type of BODY; guessed by default.")
@click.option("--accept", default="*/*", show_default=True, help="Content type of the answer.")
@click.option("--timeout", default=TIMEOUT, show_default=True, help="How long the answer may take.")
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Write the answer there.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show the time of each stage.")
@admin.target
def command(
    *,
    body: str | None,
    params: tuple[str, ...],
    sample: bool,
    content_type: str,
    accept: str,
    timeout: str,
    file: Path | None,
    verbose: bool,
    url: str,
    app: str,
) -> None:
    """Send a request to a running app and show its answer.

    BODY is text or JSON, @file for a file, or - for standard input.

    \b
    Examples:
      regrain invoke --sample
      regrain invoke @page.png
      regrain invoke '{"name": "world"}'
      regrain invoke --param image=@page.png --param threshold=0.5
      regrain invoke @page.png --accept application/x-npy -o out.npy
    """  # noqa: D301
    if sample == bool(body is not None or params):
        raise SpecError(
            "say what to send: BODY (- for standard input), --param name=value, or --sample alone"
        )
    limit = above_zero(timeout, "--timeout")
    base, target = addresses(url, app)
    sent = sample_of(base) if sample else request.read(body, params, content_type)
    began = time.monotonic()
    with working(f"waiting for {target}"):
        response = _post(target, sent, accept, limit)
    _report(response, time.monotonic() - began, verbose=verbose)
    _show(response, file)


def addresses(url: str, app: str) -> tuple[str, str]:
    """Return the admin address and the app's own that --url and --app mean."""
    if not url:
        running = admin.running(app)
        return running.admin, running.url
    base = admin.address(url, app)
    status = admin.get(base, "/status", admin.Status)
    port = status.ports.get("http")
    if not port:
        raise InvokeError(f"the app at {base} does not listen for requests yet")
    host = urlsplit(base).hostname or "127.0.0.1"
    return base, f"{status.scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def sample_of(base: str) -> Body:
    """Return an app's own sample; SpecError if it has none."""
    manifest = admin.get(base, "/manifest", Manifest)
    if manifest.sample is None:
        how = f'declare one: App("{manifest.app}", sample="page.png")'
        if is_raw(manifest):
            how = "what it takes is up to its handler or upstream, so say what to send"
        raise SpecError(f"app {manifest.app!r} has no sample; {how}")
    return Body(data=manifest.sample.body, content_type=manifest.sample.content_type)


def _post(target: str, sent: Body, accept: str, timeout: float) -> requests.Response:
    headers = {"Accept": accept, **admin.credentials("invocation_key_file")}
    if sent.content_type:
        headers["Content-Type"] = sent.content_type
    with requests.Session() as session:
        session.trust_env = False
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        try:
            return session.post(
                target,
                data=sent.data,
                params=sent.query,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,  # the key is for this app alone
            )
        except requests.RequestException as error:
            raise InvokeError(f"{target} did not answer: {reason(error)}") from error
        except OSError as error:  # what the requests library raises by itself where the bundle is no file
            raise InvokeError(f"REQUESTS_CA_BUNDLE cannot be read: {error}") from error


def _report(response: requests.Response, seconds: float, *, verbose: bool) -> None:
    """Say how it went, or fail with what the app says went wrong."""
    call = response.headers.get("X-Call-Id", "")
    named = f" (call {call})" if call else ""
    if response.status_code == HTTPStatus.UNAUTHORIZED and OWN in response.headers.get(
        "WWW-Authenticate", ""
    ):
        raise InvokeError(f"401 {admin.locked('invocation_key_file')}{named}")
    if not response.ok:
        raise InvokeError(
            f"{response.status_code} {admin.problem(response.content) or response.reason}{named}"
        )
    leads = f" to {response.headers['Location']}" if response.is_redirect else ""
    click.echo(f"{response.status_code}{leads} in {duration(seconds)}{named}", err=True)
    if verbose:
        for name, took in timings(response.headers.get("Server-Timing", "")):
            click.echo(f"  {name:<24} {took}", err=True)


def timings(header: str) -> list[tuple[str, str]]:
    """Read a Server-Timing header: names and durations in words."""
    found = []
    for entry in filter(None, (part.strip() for part in header.split(","))):
        name, *attributes = (part.strip() for part in entry.split(";"))
        pairs = dict(attribute.partition("=")[::2] for attribute in attributes)
        label = pairs.get("desc", name).strip('"')
        found.append((label, duration(float(pairs["dur"]) / 1000) if "dur" in pairs else "-"))
    return found


def formatted(body: bytes) -> str:
    """Return JSON on lines of its own; what is none, such as one with NaN, as it came."""
    try:
        return msgspec.json.format(body, indent=2).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return body.decode(errors="replace")


def _show(response: requests.Response, file: Path | None) -> None:
    content_type = response.headers.get("Content-Type", "").partition(";")[0]
    if file is not None:
        file.write_bytes(response.content)
        click.echo(f"wrote {len(response.content)} bytes to {file}", err=True)
    elif content_type == request.JSON:
        click.echo(
            formatted(response.content) if sys.stdout.isatty() else response.content.decode(errors="replace")
        )
    elif content_type.startswith("text/") or content_type == LINES:
        click.echo(response.content.decode("utf-8", "replace"), nl=content_type != LINES)
    elif sys.stdout.isatty():
        click.echo(
            f"{len(response.content)} bytes of {content_type or 'no type'}: write them with -o FILE", err=True
        )
    else:
        click.echo(response.content, nl=False)
