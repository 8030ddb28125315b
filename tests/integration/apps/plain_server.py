"""An HTTP server as anybody might have it: it dies on SIGTERM, and on request. Its argument is its port."""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

WAITS_FOR = os.environ.get("WAITS_FOR", "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        asked = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if asked.path == "/exit":
            os._exit(int(query["code"]))
        time.sleep(float(query.get("seconds", "0")))
        ready = not WAITS_FOR or Path(WAITS_FOR).exists()
        body = str(os.getpid()).encode()
        head = f"HTTP/1.1 {200 if ready or asked.path != '/up' else 503} Said\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_):
        """Say nothing."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128


if __name__ == "__main__":
    print("plain server starts", flush=True)
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
