"""Replicas of a model, forked as the zygote does: python replicas.py COUNT WAY SOURCE... prints a line of JSON.

Each loads and runs after the one before it, so that times are of one process at work; memory is read while
all of them are there. WAY: how weights are held, see WAYS; SOURCE: the model's files. Two ways with a comma
between them are run in turns in one process instead: how long the second takes, over the first.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing.connection as connections
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

import regrain
from regrain.weights.store import give_back

if TYPE_CHECKING:
    import torch

MEBIBYTE = 1 << 20
RUNS, TURNS, BATCH, WIDTH, LAYERS = 12, 30, 16, 1024, 26
Model = Callable[..., object]
SHAPES = {"det": (1, 3, 384, 384), "cls": (8, 3, 48, 192), "rec": (4, 3, 48, 320)}
"""Of what the OCR example's networks take."""


def main() -> None:
    count, way, *sources = int(sys.argv[1]), sys.argv[2], *sys.argv[3:]
    if way.startswith("torch"):
        import torch  # noqa: F401  # as a module that uses it does in the zygote

    if "," in way:
        first, second = way.split(",")
        print(json.dumps(_compare(first, second, sources)))
        return
    gc.collect()
    gc.freeze()
    replicas = [_fork(way, sources) for _ in range(count)]
    base = sum(_pss(pid) for pid, _ in replicas)
    told: dict[str, list[float]] = {"load": [], "run": []}
    digests = set()
    for _, pipe in replicas:
        line = _ask(pipe, "load")
        told["load"].append(line["load"])
        told["run"].append(line["run"])
        digests.add(line["digest"])
    full = sum(_pss(pid) for pid, _ in replicas)
    for _, pipe in replicas:
        _ask(pipe, "drop")
    left = sum(_pss(pid) for pid, _ in replicas)
    for pid, pipe in replicas:
        pipe.send_bytes(b"end")
        os.waitpid(pid, 0)
    found = {
        "total_mib": full - base,
        "left_mib": left - base,
        "answers": len(digests),
        "digest": min(digests),
    }
    print(
        json.dumps(
            {**found, "first_load": told["load"][0], "load": min(told["load"]), "run": min(told["run"])}
        )
    )


def _compare(first: str, second: str, sources: list[str]) -> dict[str, float]:
    """Return the median over turns of the second way's time over the first one's, after a turn to warm up."""
    models = [[(WAYS[way](source), _input(source)) for source in sources] for way in (first, second)]
    ratios = []
    for turn in range(TURNS + 1):
        order = (0, 1) if turn % 2 else (1, 0)
        seconds = {place: _seconds(models[place]) for place in order}
        ratios.append(seconds[1] / seconds[0])
    return {"ratio": statistics.median(ratios[1:])}


def _seconds(models: list[tuple[Model, object]]) -> float:
    start = time.perf_counter()
    for model, taken in models:
        model(taken)
    return time.perf_counter() - start


def _fork(way: str, sources: list[str]) -> tuple[int, Connection]:
    ours, theirs = connections.Pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve(theirs, way, sources)
        os._exit(0)
    theirs.close()
    _ask(ours, "ready")
    return pid, ours


def _serve(pipe: Connection, way: str, sources: list[str]) -> None:
    models: list[tuple[Model, object]] = []
    while (order := pipe.recv_bytes()) != b"end":
        line: dict[str, object] = {}
        if order == b"load":
            start = time.perf_counter()
            models = [(WAYS[way](source), _input(source)) for source in sources]
            line = {"load": time.perf_counter() - start, **_run(models)}
        elif order == b"drop":
            models.clear()
            give_back()
        pipe.send_bytes(json.dumps(line).encode())


def _run(models: list[tuple[Model, object]]) -> dict[str, object]:
    digest = hashlib.sha256()
    for model, taken in models:
        digest.update(np.ascontiguousarray(np.asarray(_first(model(taken)))).tobytes())
    return {"run": min(_seconds(models) for _ in range(RUNS)), "digest": digest.hexdigest()[:8]}


def _first(given: object) -> object:
    return given[0] if isinstance(given, list) else given


def _input(source: str) -> np.ndarray:
    name = Path(source).name
    shape = next((shape for key, shape in SHAPES.items() if f"_{key}_" in name), None)
    default = (4, 3, 64, 64) if name.endswith(".onnx") else (BATCH, WIDTH)
    return np.random.default_rng(1).standard_normal(shape or default, np.float32)


def _session(source: str, *, packed: bool) -> Model:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", str(int(not packed)))
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return lambda array: session.run(None, {session.get_inputs()[0].name: array})


def _module(*, meta: bool = False) -> torch.nn.Module:
    import torch

    with torch.device("meta" if meta else "cpu"):
        return torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))


def _script(source: str) -> object:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(source)


def _export(source: str) -> object:
    import torch

    return torch.export.load(source).module()


def _read(source: str) -> object:
    import torch

    module = _module()
    module.load_state_dict(torch.load(source, weights_only=True))
    return module


WAYS: dict[str, Callable[[str], Model]] = {
    "onnx-own": lambda source: regrain.onnx(source, share=False),
    "onnx-unpacked": lambda source: _session(source, packed=False),
    "onnx-shared": lambda source: regrain.onnx(source, share=True),
    "torch-own": lambda source: regrain.torch(lambda: _read(source), share=False),
    "torch-shared": lambda source: regrain.torch(lambda: _read(source), share=True),
    "torch-seed": lambda _: regrain.torch(_module, seed=1, share=True),
    "torch-mapped": lambda source: regrain.torch(lambda: _module(meta=True), weights=source, share=False),
    "torch-script-own": lambda source: regrain.torch(lambda: _script(source), share=False),
    "torch-script-shared": lambda source: regrain.torch(lambda: _script(source), share=True),
    "torch-export-own": lambda source: regrain.torch(lambda: _export(source), share=False),
    "torch-export-shared": lambda source: regrain.torch(lambda: _export(source), share=True),
}


def _pss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def _ask(pipe: Connection, order: str) -> dict[str, object]:
    pipe.send_bytes(order.encode())
    return json.loads(pipe.recv_bytes())


if __name__ == "__main__":
    main()
