"""A function as it runs on OpenFaaS (template python3-http); `regrain run handler.py` serves it."""
# ruff: noqa: ANN001, ANN201  # untouched

import json
import re


def handle(event, context):
    """Split a text into lower-case words: the body is text, or JSON like {"text": "..."}."""
    if event.method != "POST":
        return {"statusCode": 405, "body": "send a POST with a text"}
    text = event.body.decode("utf-8", "replace")
    if event.headers.get("Content-Type", "").startswith("application/json"):
        text = json.loads(text).get("text", "")
    words = re.findall(r"[^\W\d_]+", text.lower())
    if not words:
        return "no words in the text", 400
    return {
        "statusCode": 200,
        "body": {"words": words[: int(event.query.get("limit", "1000"))]},
        "headers": {"Content-Type": "application/json", "X-Served-By": context.hostname},
    }
