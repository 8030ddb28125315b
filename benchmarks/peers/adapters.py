"""How each peer is started and spoken to."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import product
from benchmarks.peers import workloads
from benchmarks.processes import Request

HERE = Path(__file__).parent
Command = tuple[Sequence[str], Mapping[str, str]]
"""Arguments, and what they find in their environment beside the common BENCH_* variables."""


class Peer(ABC):
    """A server under comparison; `venvs` is the folder that install.sh filled."""

    name: str
    venv = ""
    """Its folder in `venvs`; "" for the interpreter that runs this."""
    note: str

    def __init__(self, venvs: Path) -> None:
        self.venvs = venvs

    @abstractmethod
    def commands(self, workload: str, port: int, folder: Path, *, split: bool) -> list[Command]:
        """Return what to start; `folder` is empty and the peer's own."""

    def request(self, workload: str, body: bytes) -> Request:
        """Return the request that carries a body to it."""
        del workload
        return Request(body)

    def answer(self, data: bytes) -> object:
        """Return what the last stage gave, out of an answer's body."""
        return json.loads(data)

    def program(self, name: str) -> str:
        """Return the path of a program in the peer's venv."""
        return str(self.venvs / self.venv / "bin" / name)

    @property
    def is_installed(self) -> bool:
        """Whether install.sh has put it where it belongs."""
        return not self.venv or Path(self.program("python")).exists()


class Regrain(Peer):
    """Ours, as a user starts it."""

    name = "regrain"
    note = "split: --grain fine, one process per stage"

    def commands(self, workload: str, port: int, folder: Path, *, split: bool) -> list[Command]:
        del folder
        grain = "fine" if split else "coarse"
        return [(product.command(str(HERE / f"regrain_{workload}.py"), port=port, grain=grain), {})]


class Mosec(Peer):
    """mosec: a front in Rust, workers in Python."""

    name = "mosec"
    venv = "mosec"
    note = "split: one worker type per stage, through the front over Unix sockets"

    def commands(self, workload: str, port: int, folder: Path, *, split: bool) -> list[Command]:
        del workload, split  # BENCH_* tell it
        flags = ["--address", "127.0.0.1", "--port", str(port), "--path", str(folder / "ipc")]
        flags += ["--timeout", "30000", "--log-level", "error"]
        return [([self.program("python"), str(HERE / "mosec_app.py"), *flags], {})]

    def request(self, workload: str, body: bytes) -> Request:
        del workload
        return Request(body, path="/inference")


class Triton(Peer):
    """Triton over HTTP with its binary tensor extension."""

    name = "triton"
    venv = "pytriton"
    note = "Python backend, out of the nvidia-pytriton wheel; split: an ensemble of three models"

    def commands(self, workload: str, port: int, folder: Path, *, split: bool) -> list[Command]:
        del workload, port, split  # BENCH_* tell it
        return [([self.program("python"), str(HERE / "triton_app.py"), str(folder)], {})]

    def request(self, workload: str, body: bytes) -> Request:
        del workload
        parameters = {"binary_data_size": len(body)}
        takes = {"name": "i", "shape": [len(body)], "datatype": "UINT8", "parameters": parameters}
        gives = {"name": "o", "parameters": {"binary_data": False}}
        header = json.dumps({"inputs": [takes], "outputs": [gives]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(header))}
        return Request(header + body, path="/v2/models/infer/infer", headers=headers)

    def answer(self, data: bytes) -> object:
        return json.loads(json.loads(data)["outputs"][0]["data"][0])


class Gunicorn(Peer):
    """Flask under gunicorn, the way such pipelines are served today."""

    name = "gunicorn"
    venv = "gunicorn"
    note = "gthread, 4 threads; split: three of them, chained by keep-alive HTTP"

    def commands(self, workload: str, port: int, folder: Path, *, split: bool) -> list[Command]:
        if not split:
            return [(self._server(port, folder), {})]
        places = range(workloads.STAGES[workload])
        return [(self._server(port + place, folder), {"BENCH_STAGE": str(place)}) for place in places]

    def _server(self, port: int, folder: Path) -> list[str]:
        flags = ["-w", "1", "-k", "gthread", "--threads", "4", "--keep-alive", "60", "--log-level", "error"]
        flags += ["-b", f"127.0.0.1:{port}", "--worker-tmp-dir", str(folder), "--no-control-socket"]
        return [self.program("gunicorn"), *flags, "benchmarks.peers.flask_app:app"]


PEERS: tuple[type[Peer], ...] = (Regrain, Mosec, Triton, Gunicorn)


def environment(workload: str, port: int, root: Path, models: Path, *, split: bool) -> dict[str, str]:
    """Return the variables that all processes of a peer find; one thread per library."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {
        "BENCH_WORKLOAD": workload,
        "BENCH_SPLIT": str(int(split)),
        "BENCH_PORT": str(port),
        "BENCH_MODELS": str(models),
        "PYTHONPATH": str(root),
        **threads,
    }
