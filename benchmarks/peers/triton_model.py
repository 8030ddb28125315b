"""A model of Triton's Python backend: one stage, or all of them.

Triton imports it from its model repository.
"""

import json
import os
import sys

sys.path[:0] = os.environ["BENCH_PATH"].split(":")  # the backend's stub ignores PYTHONPATH

import numpy as np  # noqa: E402
import triton_python_backend_utils as triton  # noqa: E402

from benchmarks.peers import workloads  # noqa: E402


class TritonPythonModel:
    """What the backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        workload, name = os.environ["BENCH_WORKLOAD"], args["model_name"]
        self.first = name in ("infer", "stage0")
        self.run = workloads.fused(workload) if name == "infer" else workloads.stage(workload, int(name[-1]))

    def execute(self, requests: list) -> list:
        return [self.answer(triton.get_input_tensor_by_name(request, "i").as_numpy()) for request in requests]

    def answer(self, values: np.ndarray) -> object:
        result = self.run(values.tobytes() if self.first else values)
        if isinstance(result, dict):
            result = np.array([json.dumps(result).encode()], np.object_)
        return triton.InferenceResponse([triton.Tensor("o", result)])
