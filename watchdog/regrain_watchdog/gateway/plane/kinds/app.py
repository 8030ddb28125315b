"""A function that is an app of the SDK: a zygote of its own environment, and replicas of its stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrain_watchdog.front.admin import LOOPBACK, Admin
from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.hosted import Hosted
from regrain_watchdog.front.live import GATEWAY
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.operations import Operations
from regrain_watchdog.front.pooled import leads
from regrain_watchdog.front.replica import State
from regrain_watchdog.front.zygote import Birth
from regrain_watchdog.gateway import sandbox
from regrain_watchdog.gateway.plane import wishes
from regrain_watchdog.gateway.plane.instance import Clear, Tally
from regrain_watchdog.gateway.plane.launch import Launch, Launcher
from regrain_watchdog.gateway.plane.output import Output
from regrain_watchdog.gateway.spec import Function

if TYPE_CHECKING:
    from regrain_watchdog.front.grpc.methods import Methods
    from regrain_watchdog.front.tracing.export import Export

ANYWHERE = "0.0.0.0"  # noqa: S104 - who shows the key may come from there


class AppInstance:
    """One version of an app. A number of replicas is that of each of its groups.

    Args:
        function: as it is wanted.
        launcher: knows how its processes are started.
        output: where they write.
        key: what its page and its API ask for; None where being on this machine is enough.
        export: what takes the spans of its requests; None where they are not recorded.
    """

    def __init__(
        self,
        function: Function,
        launcher: Launcher,
        output: Output,
        key: Key | None = None,
        export: Export | None = None,
    ) -> None:
        self.admin: Admin | None = None
        self.measure: Measure | None = None
        self._methods: Methods | None = None
        self._key = key
        self._function = function
        self._launcher = launcher
        self._output = output
        self._export = export
        self._hosted: Hosted | None = None
        self._launch: Launch | None = None
        self._replicas = 0

    async def start(self, replicas: int, clear: Clear) -> None:  # noqa: ARG002 - it has no port of its own
        """Import the app, start its replicas, warm them up."""
        config = wishes.config(self._function.deployment, replicas)
        shares = bool(config.gpus or config.gpu_folder)
        launch = self._launch = self._launcher.launch(self._function, shares_gpus=shares)
        image = self._function.image
        birth = Birth(
            interpreter=sandbox.python(image.environment),
            prefix=launch.prefix,
            environment=launch.environment,
            output=self._output.descriptor,
        )
        hosted = self._hosted = Hosted(
            config, image.folder, birth=birth, entered=self._entered, export=self._export
        )
        hosted.failure.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        manifest = await hosted.hello()
        await hosted.load(manifest)
        await hosted.start()
        self._replicas = replicas
        self.measure = hosted.measure
        self.admin = Admin(
            manifest,
            hosted.measure,
            hosted.status,
            host=LOOPBACK if self._key is None else ANYWHERE,
            key=self._key,
            operations=Operations(hosted.changes, is_adapted=hosted.adaptation is not None),
            why=hosted.why,
        )
        if hosted.adaptation is not None:
            hosted.adaptation.start()

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        await self._there.door.__rsgi__(scope, proto)

    @property
    def model(self) -> str:
        """What the app is called."""
        return self._there.live.manifest.app

    def methods(self) -> Methods:
        """Return what it answers over gRPC."""
        if self._methods is None:
            from regrain_watchdog.front.grpc.methods import Methods as Found  # noqa: PLC0415  # only who is asked needs it

            config = wishes.config(self._function.deployment, 1)
            self._methods = Found(self._there.door.ingress.inference, self._there.measure, config)
        return self._methods

    async def scale(self, replicas: int) -> None:
        """Give each group so many replicas; where plans are adapted, they are not touched."""
        hosted = self._there
        if hosted.adaptation is None:
            grain = hosted.live.current.route.plan.grain
            await hosted.changes.regrain(grain, str(replicas), by=GATEWAY)
        self._replicas = replicas

    async def stop(self) -> None:
        """End its processes."""
        hosted = self._hosted
        if self.admin is not None:
            self.admin.stop()
        if self._methods is not None:
            self._methods.drain()
        if hosted is not None:
            if hosted.is_loaded:
                await hosted.drain()
                await hosted.live.stop()
            await hosted.close()
        if self._launch is not None:
            await self._launch.end()

    def kill(self) -> None:
        """End its processes at once."""
        if self._hosted is not None:
            self._hosted.kill()

    def tally(self) -> Tally:
        """Return how many replicas the group with the fewest has."""
        groups = leads(self._there.live.current.functions)
        ready = [sum(one.state is State.READY for one in group.replicas) for group in groups]
        detail = self._there.live.unready()
        return Tally(replicas=self._replicas, available=min([self._replicas, *ready]), detail=detail)

    def pids(self) -> list[int]:
        """Return its replicas."""
        groups = leads(self._there.live.current.functions)
        return [one.pid for group in groups for one in group.replicas if one.pid]

    def _entered(self) -> None:
        """Another version of its code is in force, as somebody has asked for at its API."""
        if self.admin is not None:
            self.admin.manifest = self._there.live.manifest
        if self._methods is not None:
            self._methods.follow(self._there.door.ingress.inference)

    @property
    def _there(self) -> Hosted:
        if self._hosted is None:
            raise RuntimeError("an app is started before it is asked")
        return self._hosted
