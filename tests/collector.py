"""A collector of traces: takes what exporters send by OTLP over HTTP."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Told:
    """A span as the collector has it: its ids as text, its attributes and those of its process as dicts."""

    def __init__(self, span, resource):
        self.name, self.kind, self.status = span.name, span.kind, span.status
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.begins, self.ends = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes, self.resource = plain(span.attributes), resource
        self.state = span.trace_state
        self.events = [event.name for event in span.events]

    @property
    def named(self):
        return f"00-{self.trace}-{self.id}-01"

    def holds(self, other):
        return self.begins <= other.begins <= other.ends <= self.ends


def plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Receiver:
    """Takes what exporters send, once it is open; until then it answers 503."""

    def __init__(self):
        self.spans, self.asked, self.is_open = [], 0, True
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked += 1
                if receiver.is_open:
                    receiver.take(self.path, ExportTraceServiceRequest.FromString(body))
                self.send_response(200 if receiver.is_open else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path, request):
        assert path == "/v1/traces"
        for one in request.resource_spans:
            resource = plain(one.resource.attributes)
            self.spans += [Told(span, resource) for scope in one.scope_spans for span in scope.spans]

    @property
    def names(self):
        return [(span.trace, span.name) for span in list(self.spans)]

    def of(self, trace):
        return [span for span in list(self.spans) if span.trace == trace]
