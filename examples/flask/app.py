"""A Flask app as it runs anywhere; `regrain run wsgi:app:app` serves it with a queue, a drain and metrics."""

import re
from collections import Counter
from collections.abc import Iterator

from flask import Flask, Response, jsonify, request, stream_with_context
from flask.typing import ResponseReturnValue

app = Flask(__name__)


@app.get("/healthz")
def healthz() -> str:
    return "ready"


@app.post("/")
def words() -> ResponseReturnValue:
    """Count the words of a text; ?limit=3 answers with the three commonest."""
    found = re.findall(r"[^\W\d_]+", request.get_data(as_text=True).lower())
    if not found:
        return "no words in the text", 400
    return jsonify(Counter(found).most_common(request.args.get("limit", type=int)))


@app.post("/lines")
def lines() -> Response:
    """Answer with a server-sent event for each line of the text."""
    text = request.get_data(as_text=True)

    @stream_with_context
    def events() -> Iterator[str]:
        for line in text.splitlines():
            yield f"data: {len(line.split())}\n\n"

    return Response(events(), mimetype="text/event-stream")
