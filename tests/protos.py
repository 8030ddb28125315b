"""Compile the .proto files: `python tests/protos.py`, with the package grpcio-tools."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROTOS = ("sdk/regrain/wire/invoke.proto", "watchdog/regrain_watchdog/front/grpc/inference.proto")


def compiled(proto: str, folder: Path) -> tuple[Path, Path]:
    """Compile one file into a folder; return the descriptor set and the stub."""
    source = ROOT / proto
    messages, stub = (folder / f"{source.stem}_pb2{suffix}" for suffix in (".binpb", ".pyi"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source.parent}"]
    subprocess.run(
        [*command, f"--descriptor_set_out={messages}", f"--pyi_out={folder}", source.name], check=True
    )
    head = '# mypy: disable-error-code="type-arg"\n'  # protoc leaves them out
    head += "from google.protobuf.descriptor_pool import DescriptorPool\n"
    stub.write_text(f"{head}{stub.read_text()}".rstrip() + "\n\nPOOL: DescriptorPool\n")
    return messages, stub


def main() -> None:
    for proto in PROTOS:
        with tempfile.TemporaryDirectory() as folder:
            for made in compiled(proto, Path(folder)):
                shutil.copy(made, (ROOT / proto).with_name(made.name))


if __name__ == "__main__":
    main()
