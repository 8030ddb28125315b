"""Build an image: unpack what was sent, install, read the app's manifest, keep the result."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Protocol

import msgspec

from regrain import manifest
from regrain.errors import SpecError
from regrain.manifest import Manifest
from regrain_watchdog.gateway import private, sandbox
from regrain_watchdog.gateway.build import archive, template
from regrain_watchdog.gateway.build.archive import Bounds, Config
from regrain_watchdog.gateway.build.cache import Cache
from regrain_watchdog.gateway.build.command import Command
from regrain_watchdog.gateway.build.environment import Environments, Step
from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.build.folders import hold, own, settle, shared
from regrain_watchdog.gateway.build.images import HANDLER, Images, combined, digest
from regrain_watchdog.gateway.build.template import Handler
from regrain_watchdog.gateway.sandbox import Cell, Means
from regrain_watchdog.gateway.spec import Function, Image, image_name
from regrain_watchdog.words import duration, size

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
MANIFEST_SIZE = 16 << 20
OPTIONS = "ADDITIONAL_PACKAGE"
"""The build argument that names packages of a container's distribution."""


class Store(Protocol):
    """What a builder asks of the gateway's store."""

    def functions(self) -> list[Function]:
        """Return all functions."""

    def images(self) -> list[Image]:
        """Return what the names of images stand for."""

    def put_image(self, image: Image) -> None:
        """Keep an image under its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of builds: the archive, seconds to install and to import, how many at once.

    spare: bytes of disk that stay free. cached: bytes that pip may keep.
    """

    archive: Bounds = field(default_factory=Bounds)
    install: float = 900.0
    describe: float = 120.0
    at_once: int = 4
    spare: int = 256 << 20
    cached: int = 4 << 30


class Builder:
    """Builds images in the gateway's state folder.

    Args:
        state: that folder.
        store: where images are kept by name.
        means: what builds can be confined with.
        environ: the gateway's variables, of which builds get those about the network and the machine.
    """

    def __init__(
        self,
        state: Path,
        store: Store,
        means: Means,
        environ: Mapping[str, str],
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._state = state
        self._store = store
        self._means = means
        self._inherited = sandbox.inherited(environ)
        self._installing = sandbox.installing(environ)
        self._environments = Environments(state / "environments", self.limits.install, self.limits.spare)
        self._images = Images(state / "images")
        self._cache = Cache(state / "pip", self.limits.cached)
        self._drafts = state / "builds"
        self._free = threading.BoundedSemaphore(self.limits.at_once)
        self._sweep()

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give a folder for a build, which is removed at the end. BuildError if too many are under way."""
        if not self._free.acquire(blocking=False):
            raise BuildError(
                f"{self.limits.at_once} builds are under way, as many as may be at once; try again"
            )
        try:
            self.require(0)
            folder = shared(Path(tempfile.mkdtemp(dir=shared(self._drafts))))
            held = hold(folder)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)
        finally:
            self._free.release()

    def require(self, nbytes: int) -> None:
        """BuildError where so many bytes leave too little of the disk, even without what nobody needs any more."""
        least = self.limits.spare + nbytes
        for make_room in (self._prune, partial(self._cache.trim, free=0)):
            if self._free_bytes() >= least:
                return
            make_room()
        free = self._free_bytes()
        if free < least:
            raise BuildError(
                f"the disk has {size(free)} left, and builds leave {size(self.limits.spare)}: remove something first"
            )

    def build(self, draft: Path, sent: Path) -> Generator[list[str], None, Image]:
        """Yield the lines of a build of what was sent, and return the image, which is in the store by then.

        BuildError says why there is none; what was in the store before is still there.
        """
        began = time.monotonic()
        try:
            config = archive.unpack(sent, draft, self.limits.archive, self.require)
            name = _name(config)
            handler = template.handler(draft / archive.CONTEXT)
            yield _received(name, handler, config)
            image = yield from self._made(draft, handler, name)
        except OSError as error:
            reason = (
                "the disk is full" if error.errno == errno.ENOSPC else f"{error.strerror}: {error.filename}"
            )
            raise BuildError(f"the build ended: {reason}") from error
        self._prune()
        yield [f"image {name} ({image.digest}) is ready; took {duration(time.monotonic() - began)}"]
        return image

    def _made(self, draft: Path, handler: Handler, name: str) -> Generator[list[str], None, Image]:
        """Install, read the manifest, and keep the image."""
        files = digest(handler.folder)
        kept = shared(draft / "image")
        app = handler.folder.rename(kept / HANDLER)
        with ExitStack() as until:
            environment = yield from self._environments.prepare(app, files, self._step(draft, until), until)
            if handler.application:
                yield from self._import(draft, app, environment, handler.application)
            else:
                read = yield from self._describe(draft, app, environment)
                yield [_told(read)]
                (kept / MANIFEST).write_bytes(manifest.dumps(read))
            image = Image(
                name=name,
                kind="wsgi" if handler.application else "app",
                environment=environment,
                digest=combined(name, files, environment),
                built=time.time(),
            )
            settle(kept)
            image = self._images.place(kept, image)
            self._store.put_image(image)
        return image

    def _describe(self, draft: Path, app: Path, environment: str) -> Generator[list[str], None, Manifest]:
        """Import the app in its environment, confined, and return its manifest."""
        arguments = ["-m", "regrain_runtime", "describe", str(app)]
        with tempfile.TemporaryFile(dir=draft) as output:
            yield from self._run(draft, app, environment, arguments, output)
            output.seek(0)
            try:
                return manifest.loads(output.read(MANIFEST_SIZE))
            except msgspec.MsgspecError as error:
                raise BuildError(f"the handler's manifest is none: {error}") from error

    def _import(
        self, draft: Path, app: Path, environment: str, application: str
    ) -> Generator[list[str], None, None]:
        """Import a WSGI application in its environment, confined, as gunicorn will."""
        program = "import sys; from gunicorn.util import import_app; import_app(sys.argv[1])"
        with tempfile.TemporaryFile(dir=draft) as output:
            yield from self._run(draft, app, environment, ["-c", program, application], output)
        yield [f"WSGI application {application}"]

    def _run(
        self, draft: Path, app: Path, environment: str, arguments: Sequence[str], output: IO[bytes]
    ) -> Generator[list[str], None, None]:
        """Run Python on the handler; BuildError with what it said last if it fails."""
        command = self._command(
            draft,
            [sandbox.python(environment), *arguments],
            (str(app),),
            app,
            self.limits.describe,
            reads=(environment,) if environment else (),
            output=output,
        )
        yield from command.run("importing the handler")
        if command.code:
            last = command.lines[-1] if command.lines else f"it ended with exit code {command.code}"
            raise BuildError(f"the handler does not start: {last.removeprefix('regrain: ')}")

    def _step(self, draft: Path, until: ExitStack) -> Step:
        """Return how a command of an installation is made, until the stack is closed.

        pip keeps all wheels of a run among its temporary files: these are on the disk, and go with the draft.
        """
        cache, scratch = str(until.enter_context(self._cache.used())), draft / "scratch"
        private.folder(scratch)
        variables = {
            **self._installing,
            "PIP_ROOT_USER_ACTION": "ignore",
            "PIP_CACHE_DIR": cache,
            "TMPDIR": str(scratch),
        }

        def step(arguments: Sequence[str], writes: Sequence[str], folder: str) -> Command:
            return self._command(
                draft,
                arguments,
                (*writes, cache, str(scratch)),
                Path(folder),
                self.limits.install,
                variables=variables,
            )

        return step

    def _command(
        self,
        draft: Path,
        arguments: Sequence[str],
        writes: tuple[str, ...],
        folder: Path,
        seconds: float,
        *,
        reads: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
        output: IO[bytes] | None = None,
    ) -> Command:
        """Return a command that runs confined, with more variables if need be, and may write some folders."""
        if self._means.users:
            for path in writes:
                own(Path(path), sandbox.BUILDER)
        cell = Cell(
            user=sandbox.BUILDER,
            home=str(draft / "home"),
            hidden=str(self._state),
            reads=reads,
            writes=writes,
            alone=True,
        )
        confined = sandbox.confine(cell, self._means)
        return Command(
            [*confined.prefix, *arguments],
            environment={**self._inherited, **confined.variables, **(variables or {})},
            folder=folder,
            seconds=seconds,
            output=output,
        )

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._state).free

    def _prune(self) -> None:
        """Remove what no function and no name needs any more, and what pip keeps where that is too much.

        No build fails for what cannot be removed.
        """
        try:
            self._images.prune({image.digest for image in self._used()})
            self._environments.prune(
                lambda: {image.environment for image in (*self._images.all(), *self._used())}
            )
            self._cache.trim(self._free_bytes())
        except OSError:
            logger.exception("what builds have left cannot be removed")

    def _used(self) -> list[Image]:
        """Return the images that names stand for, and those that functions were deployed with."""
        return [*self._store.images(), *(function.image for function in self._store.functions())]

    def _sweep(self) -> None:
        """Remove what builds that were killed have left."""
        for folder in self._drafts.glob("*/"):
            with contextlib.suppress(BlockingIOError):
                held = hold(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def _name(config: Config) -> str:
    try:
        return image_name(config.image)
    except SpecError as error:
        raise BuildError(str(error)) from error


def _received(name: str, handler: Handler, config: Config) -> list[str]:
    files = [path for path in handler.folder.rglob("*") if path.is_file()]
    total = size(sum(path.stat().st_size for path in files))
    lines = [f"{name}: {len(files)} files, {total}, from the template {handler.template}"]
    if packages := config.build_args.get(OPTIONS, "").strip():
        lines.append(f"not installed, as there is no container here: {packages}")
    return lines


def _told(read: Manifest) -> str:
    stages = ", ".join(stage.name for stage in read.stages)
    return f"app {read.app} with the stages {stages}"
