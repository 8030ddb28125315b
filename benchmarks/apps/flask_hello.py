"""A Flask function that answers with what it was sent: the upstream of benchmarks/upstream.py."""

from flask import Flask, request

app = Flask(__name__)


@app.post("/")
def echo() -> bytes:
    return request.get_data()
