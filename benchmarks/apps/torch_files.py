"""Write one seeded torch module as state dict, TorchScript and exported program: torch_files.py FOLDER SEED."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from replicas import BATCH, LAYERS, WIDTH


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(int(sys.argv[2]))
    module = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))).eval()
    taken = (torch.zeros(BATCH, WIDTH),)
    torch.save(module.state_dict(), folder / "net.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(module, taken).save(folder / "net.ts")
    torch.export.save(torch.export.export(module, taken), folder / "net.pt2")


if __name__ == "__main__":
    main()
