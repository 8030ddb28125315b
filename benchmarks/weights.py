"""Measure what replicas of one model share of its weights: memory, load and speed, with sharing and without.

A 117 MB ONNX net (seeded; weights in its file, and in a file of their own), the OCR example's three networks, and
a 109 MB torch module from a state dict, a seed, TorchScript and torch.export; 1, 2 and 4 replicas. Memory is exact
(PSS); load times mean little beyond the ratio within a round. Speed is compared by runs that take turns in a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

from benchmarks import onnx_file, product
from benchmarks.record import Results, arguments, table

Run = Callable[[int, str], dict[str, object]]
"""Runs so many replicas that hold their weights in some way; returns what they told."""
COUNTS = (1, 2, 4)
BESIDE, SLOWER = 0.15, 1.05
"""Of a copy: what each replica may hold beside the one that all share (activations, libraries); and run time."""
OCR = ("PP-OCRv6_det_small", "ch_ppocr_mobile_v2.0_cls_mobile", "PP-OCRv6_rec_small")
WAYS = {
    "onnx": ("onnx-own", "onnx-shared"),
    "onnx, external data": ("onnx-own", "onnx-unpacked", "onnx-shared"),
    "OCR example": ("onnx-own", "onnx-shared"),
    "torch": ("torch-own", "torch-shared", "torch-mapped"),
    "TorchScript": ("torch-script-own", "torch-script-shared"),
    "torch.export": ("torch-export-own", "torch-export-shared"),
}
"""Per model, ways to hold its weights; the first is separate copies."""


def main() -> None:
    options = arguments("weights", __doc__ or "", rounds=3, seconds=0.0).parse_args()
    results = Results.open("weights", options)
    counts, models = (COUNTS[:2], ("onnx", "torch")) if options.short else (COUNTS, tuple(WAYS))
    results.add({"kind": "libraries", **{name: metadata.version(name) for name in ("torch", "rapidocr")}})
    with tempfile.TemporaryDirectory() as folder:
        sources = _models(Path(folder), options.seed)
        for turn in range(options.rounds):
            for model in models:
                _round(results, turn, model, counts, partial(_run, sources[model], folder))
    _report(results, models, counts)


def _round(results: Results, turn: int, model: str, counts: Sequence[int], run: Run) -> None:
    own, *others = WAYS[model]
    for count in counts:
        for way in WAYS[model]:
            key = {"kind": "weights", "round": turn, "model": model, "replicas": count, "way": way}
            if not results.has(**key):
                results.add({**key, **run(count, way)})
    for way in others:
        key = {"kind": "speed", "round": turn, "model": model, "way": way}
        if not results.has(**key):
            results.add({**key, **run(1, f"{own},{way}")})


def _report(results: Results, models: Sequence[str], counts: Sequence[int]) -> None:
    def row(model: str, way: str, count: int) -> list[object]:
        def median(field: str, way: str, replicas: int = count) -> float:
            return results.median(field, kind="weights", model=model, replicas=replicas, way=way)

        own = WAYS[model][0]
        memory = median("total_mib", way) / (count * median("total_mib", own, 1))
        load = median("load", way) / median("load", own)
        run = results.median("ratio", kind="speed", model=model, way=way) if way != own else 1.0
        return [model, way, count, median("total_mib", way), median("left_mib", way), memory, load, run]

    rows = [row(model, way, count) for model in models for count in counts for way in WAYS[model]]
    print(
        "MiB: of all replicas, beyond what they had before; memory, load and run time: over separate copies"
    )
    print(table(["model", "way", "replicas", "MiB", "MiB after drop", "memory", "load", "run"], rows))
    most = counts[-1]
    for model, shared in (("onnx", "onnx-shared"), ("torch", "torch-shared")):
        *_, memory, _, run = next(row for row in rows if row[:3] == [model, shared, most])
        limit = 1 / most + BESIDE
        results.bar(f"{model}: memory of {most} replicas over {most} copies", float(memory), at_most=limit)
        results.bar(f"{model}: run time shared over separate", float(run), at_most=SLOWER)
        making = results.best("first_load", max, kind="weights", model=model, way=shared)
        results.add({"kind": "note", "name": f"{model}: s of the load that makes the file", "value": making})
    for model in models:
        alike = [way for way in WAYS[model] if way != "onnx-unpacked"]  # packing changes the order of sums
        lines = [line for line in results.lines if line.get("model") == model and line.get("way") in alike]
        answers = {line["digest"] for line in lines if "digest" in line}
        results.bar(f"{model}: different answers, own and shared", len(answers), at_most=1)


def _models(folder: Path, seed: int) -> dict[str, list[str]]:
    """Write the models; return the files of each."""
    import rapidocr

    onnx_file.large(folder / "inline.onnx", seed=seed)
    onnx_file.large(folder / "outside.onnx", seed=seed, data=folder / "outside.bin")
    code = Path(__file__).parent / "apps" / "torch_files.py"
    subprocess.run([sys.executable, str(code), str(folder), str(seed)], check=True)
    installed = Path(rapidocr.__file__).parent / "models"
    return {
        "onnx": [str(folder / "inline.onnx")],
        "onnx, external data": [str(folder / "outside.onnx")],
        "OCR example": [str(installed / f"{name}.onnx") for name in OCR],
        "torch": [str(folder / "net.pt")],
        "TorchScript": [str(folder / "net.ts")],
        "torch.export": [str(folder / "net.pt2")],
    }


def _run(sources: Sequence[str], folder: str, count: int, way: str) -> dict[str, object]:
    command = [sys.executable, str(product.APPS / "replicas.py"), str(count), way, *sources]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "REGRAIN_WEIGHTS": folder}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
