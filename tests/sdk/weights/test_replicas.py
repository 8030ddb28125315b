"""What processes hold of their models, seen from the kernel."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

WEIGHTS = 64 << 20
"""Bytes of the models here: 16 matrices of 1024 x 1024."""
ELSE = WEIGHTS // 4
"""Bytes of a process's own that are allowed beside weights: libraries, threads, activations."""
REPLICA = textwrap.dedent(
    """
    import json, sys, time
    import numpy as np
    from regrain import App, onnx, torch
    from regrain.execute import Executor
    from regrain.weights.store import give_back

    library, source, share = sys.argv[1], sys.argv[2], sys.argv[3] == "shared"

    def layers():
        import torch as library
        return library.nn.Sequential(*(library.nn.Linear(1024, 1024, bias=False) for _ in range(16)))

    class Reader:
        def __init__(self):
            self.net = onnx(source, share=share) if library == "onnx" else torch(layers, seed=1, share=share)
            x = np.full((1, 1024), 0.5, np.float32)
            told(float(np.asarray(self.net(x)[0]).sum()))

        def __call__(self, x: list) -> list:
            return x

    app = App("reader")
    read = app.stage()(Reader)

    @app.flow
    def flow(x: list) -> list:
        return read(x)

    def told(value):
        print(json.dumps(value), flush=True)
        sys.stdin.readline()

    def held():
        with open("/proc/self/smaps_rollup") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))

    __import__("torch" if library == "torch" else "onnxruntime")
    executor = Executor(app, clock=time.monotonic)
    before = held()
    executor.load(["read"])
    told(held() - before)
    executor.unload(["read"])
    give_back()
    told(held() - before)
    """
)


@pytest.fixture
def model(onnx_file, tmp_path):
    random = np.random.default_rng(1)
    names = [f"w{place}" for place in range(16)]
    weights = {name: random.standard_normal((1024, 1024), np.float32) for name in names}
    values = ["x", *(f"a{place}" for place in range(15))]
    nodes = [
        onnx_file.node("MatMul", [taken, name], given)
        for name, taken, given in zip(names, values, [*values[1:], "y"], strict=True)
    ]
    graph = onnx_file.graph(nodes, weights, {"x": ("n", 1024)}, {"y": ("n", 1024)})
    return onnx_file.write(tmp_path / "net.onnx", graph)


@pytest.fixture
def replicas(model):
    """Runs two replicas in step; returns what each told: its answer, bytes when loaded, bytes when dropped."""

    def run(library, way):
        command = [sys.executable, "-c", REPLICA, library, str(model), way]
        running = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        told = []
        for _ in range(3):
            told.append([json.loads(process.stdout.readline()) for process in running])
            for process in running:
                process.stdin.write("\n")
                process.stdin.flush()
        for process in running:
            process.communicate()
        return told

    return run


@pytest.mark.process
@pytest.mark.parametrize("library", ["onnx", "torch"])
def test_replicas_share_their_weights_and_a_dropped_stage_gives_its_memory_back(library, replicas):
    pytest.importorskip(
        "torch" if library == "torch" else "onnxruntime", reason=f"{library} is not installed"
    )

    answers, own, own_left = replicas(library, "own")
    same, shared, shared_left = replicas(library, "shared")

    assert len({*answers, *same}) == 1
    assert sum(own) > 2 * WEIGHTS
    assert sum(shared) < WEIGHTS + 2 * ELSE
    assert all(left < ELSE for left in own_left + shared_left)
