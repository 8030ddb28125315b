"""A version of a function that runs: what answers, where it writes, and what stays for it until it has ended."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack

from regrain_watchdog.gateway.build import images
from regrain_watchdog.gateway.plane.instance import Instance
from regrain_watchdog.gateway.plane.output import Output
from regrain_watchdog.gateway.spec import Image


class Version:
    """A version of a function that runs.

    Attributes:
        generation: of the function.
        calls: requests under way in it.
    """

    def __init__(self, instance: Instance, output: Output, generation: int) -> None:
        self.instance = instance
        self.generation = generation
        self.output = output
        self.calls = 0
        self.idle = asyncio.Event()
        self._holds = ExitStack()

    def hold(self, image: Image) -> None:
        """Have an image stay until the version has ended; OSError where it is gone."""
        if image.folder:
            self._holds.callback(os.close, images.use(image.folder))

    async def drain(self, timeout: float) -> bool:
        """Wait until no request is under way; whether that was so within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self.calls:
                    self.idle.clear()
                    await self.idle.wait()
        except TimeoutError:
            return False
        return True

    async def end(self) -> None:
        """End its processes."""
        try:
            await self.instance.stop()
        finally:
            self._holds.close()
            self.output.close()


class Ending:
    """What has still to end of the functions of one name: a removed one may hold the port that the next one wants."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Version | None] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing has to end."""
        return not self._tasks

    def add(self, task: asyncio.Task[None], version: Version | None = None) -> None:
        """Know of a task until it is done, and of the version that it ends."""
        self._tasks[task] = version
        task.add_done_callback(self._tasks.pop)

    def kill(self) -> None:
        """End the processes of all versions at once."""
        for version in self._tasks.values():
            if version is not None:
                version.instance.kill()

    async def over(self) -> None:
        """Wait until all has ended; it does whether or not it is waited for."""
        while self._tasks:
            await asyncio.wait(self._tasks)
