"""Whom `regrain gateway` tells the results of calls that it ran later."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 60.0
"""Seconds within which it has ended."""


class Called:
    """A server that is called back: how often by which call and with which status, and what was told last.

    Attributes:
        listens: cleared, whoever calls waits until it is set.
    """

    def __init__(self) -> None:
        self.listens = threading.Event()
        self.listens.set()
        self.calls: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.body = b""
        called = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                called.listens.wait()
                called.body = self.rfile.read(int(self.headers["Content-Length"]))
                called.headers = {name.lower(): text for name, text in self.headers.items()}
                called.calls[self.headers["X-Call-Id"]] += 1
                called.statuses[self.headers["X-Function-Status"]] += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/told"
        self._serving = threading.Thread(target=self._server.serve_forever)
        self._serving.start()

    def close(self) -> None:
        """End it."""
        self.listens.set()
        self._server.shutdown()
        self._serving.join(PATIENCE)
        self._server.server_close()
