"""A Flask function that answers with what it was sent: the upstream of benchmarks/upstream.py."""

import time

from flask import Flask, request

app = Flask(__name__)


@app.post("/")
def echo() -> bytes:
    return request.get_data()


@app.post("/slow")
def slow() -> bytes:
    time.sleep(0.05)
    return request.get_data()
