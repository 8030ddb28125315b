"""What an app answers over gRPC: the methods of the Open Inference Protocol, and Invoke."""

from __future__ import annotations

from regrain_watchdog.front.config import Config
from regrain_watchdog.front.grpc import invoke, oip
from regrain_watchdog.front.grpc.entry import Entry
from regrain_watchdog.front.grpc.silence import Silence
from regrain_watchdog.front.grpc.stream import Streams
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.oip.inference import Inference

SERVICES = (oip.NAME, invoke.NAME)


class Methods:
    """The methods of an app.

    Args:
        inference: the app.
        measure: what counts its calls.
        config: limits, keys.

    Attributes:
        silence: how long streams may ask nothing.
        handlers: for a server.
        check: RequestError (401) for a caller without the key.
    """

    def __init__(self, inference: Inference, measure: Measure, config: Config) -> None:
        self.silence = Silence.of(config)
        self._streams = Streams(silence=self.silence)
        entry = Entry(measure, config, lambda: config.latency(inference.service.manifest) or 0.0)
        self.check = entry.check
        self._oip = oip.OpenInference(inference, entry, self._streams)
        self.handlers = (self._oip.handlers(), invoke.Invoke(inference.service, entry).handlers())

    def follow(self, inference: Inference) -> None:
        """Answer for another version of the app from the next request on; nobody is cut off."""
        self._oip.inference = inference

    def drain(self) -> None:
        """Let streams end."""
        self._streams.drain()
        self.silence.drain()
