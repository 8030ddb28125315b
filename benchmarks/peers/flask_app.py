"""Flask under gunicorn. Split: three of them, chained over keep-alive HTTP as its users would."""

import http.client
import os
import threading

import numpy as np
from flask import Flask, Response, jsonify, request

from benchmarks.peers import workloads

WORKLOAD, PORT = os.environ["BENCH_WORKLOAD"], int(os.environ["BENCH_PORT"])
PLACE = os.environ.get("BENCH_STAGE")
NEXT = PORT + int(PLACE or 0) + 1

app = Flask(__name__)
connections = threading.local()

if PLACE is None:
    run = workloads.fused(WORKLOAD)

    @app.post("/")
    def serve() -> Response:
        return jsonify(run(request.get_data()))

else:
    place = int(PLACE)
    stage = workloads.stage(WORKLOAD, place)
    last = place == workloads.STAGES[WORKLOAD] - 1

    @app.post("/")
    def serve() -> Response:
        data = request.get_data()
        value = stage(np.frombuffer(data, np.float32).reshape(workloads.SHAPE) if place else data)
        return jsonify(value) if last else hand_over(value)


def hand_over(tensor: np.ndarray) -> Response:
    connection = getattr(connections, "next", None)
    if connection is None:
        connection = connections.next = http.client.HTTPConnection("127.0.0.1", NEXT, timeout=30)
    connection.request("POST", "/", memoryview(tensor).cast("B"))
    answer = connection.getresponse()
    return Response(answer.read(), answer.status, mimetype="application/json")
