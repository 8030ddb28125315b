"""Triton: the server binary out of the nvidia-pytriton wheel, with models of its Python backend.

Writes the model repository into the folder given and becomes the server. Split: an ensemble of three models,
each in its own process. That wheel has no ONNX backend.
"""

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
BYTES, TENSOR, TEXT = ("TYPE_UINT8", "[-1]"), ("TYPE_FP32", "[3, 224, 224]"), ("TYPE_STRING", "[1]")
ENSEMBLE = """platform: "ensemble"
ensemble_scheduling { step [
  { model_name: "stage0" model_version: -1
    input_map { key: "i" value: "i" } output_map { key: "o" value: "x" } },
  { model_name: "stage1" model_version: -1
    input_map { key: "i" value: "x" } output_map { key: "o" value: "y" } },
  { model_name: "stage2" model_version: -1
    input_map { key: "i" value: "y" } output_map { key: "o" value: "o" } }
] }
"""
PYTHON = 'backend: "python"\ninstance_group [{ count: 1 kind: KIND_CPU }]\n'


def write_model(
    repository: Path, name: str, takes: tuple[str, str], gives: tuple[str, str], kind: str
) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    if kind == PYTHON:
        shutil.copy(HERE / "triton_model.py", version / "model.py")
    tensors = "".join(
        f'{way} [{{ name: "{key}" data_type: {datatype} dims: {dims} }}]\n'
        for way, key, (datatype, dims) in (("input", "i", takes), ("output", "o", gives))
    )
    (version.parent / "config.pbtxt").write_text(f'name: "{name}"\nmax_batch_size: 0\n{tensors}{kind}')


def write_repository(repository: Path, *, split: bool) -> None:
    if not split:
        write_model(repository, "infer", BYTES, TEXT, PYTHON)
        return
    for place, (takes, gives) in enumerate(((BYTES, TENSOR), (TENSOR, TENSOR), (TENSOR, TEXT))):
        write_model(repository, f"stage{place}", takes, gives, PYTHON)
    write_model(repository, "infer", BYTES, TEXT, ENSEMBLE)


def copy_backend(server: Path, folder: Path) -> None:
    """Put the Python backend and its stub for this interpreter side by side, as the server expects them."""
    shutil.copytree(server / "backends" / "python", folder / "python")
    stubs = server / "python_backend_stubs" / f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = Path(shutil.copy(stubs / "triton_python_backend_stub", folder / "python"))
    stub.chmod(0o755)


def main(folder: Path, port: int) -> None:
    site = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
    server = site / "pytriton" / "tritonserver"
    write_repository(folder / "repository", split=os.environ["BENCH_SPLIT"] == "1")
    copy_backend(server, folder / "backends")
    os.environ["LD_LIBRARY_PATH"] = f"{site / 'nvidia_pytriton.libs'}:{server / 'external_libs'}"
    os.environ["BENCH_PATH"] = f"{site}:{os.environ['PYTHONPATH']}"
    binary = server / "bin" / "tritonserver"
    binary.chmod(0o755)
    ports = {"http": port, "grpc": port + 1, "metrics": port + 2}
    flags = [f"--{name}-port={number}" for name, number in ports.items()]
    flags += [f"--{name}-address=127.0.0.1" for name in ports]
    folders = [f"--model-repository={folder / 'repository'}", f"--backend-directory={folder / 'backends'}"]
    os.execv(binary, [str(binary), *folders, *flags])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["BENCH_PORT"]))
