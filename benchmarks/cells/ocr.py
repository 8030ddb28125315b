"""Pages for the real OCR app: strips of a page of print, one to five lines each, so that a cell takes minutes."""

from __future__ import annotations

import json
from pathlib import Path

import PIL.Image

from benchmarks import processes, product

MODULE = (product.EXAMPLES / "ocr" / "app.py").resolve()
BATCHES = (1, 2, 4, 8, 16, 32)
HEIGHTS = (34, 60, 86, 112, 140)
"""Pixels of the strips, from the top of the page."""
COUNTS = "lines.json"


def pictures(folder: Path) -> Path:
    """Return the folder of the strips."""
    return folder / "strips"


def write(folder: Path) -> None:
    """Cut the strips, and have the app count their lines."""
    if (folder / COUNTS).exists():
        return
    import skimage  # for its picture

    pictures(folder).mkdir(parents=True, exist_ok=True)
    with PIL.Image.open(Path(skimage.__file__).parent / "data" / "page.png") as page:
        for height in HEIGHTS:
            page.crop((0, 0, page.width, height)).save(pictures(folder) / f"{height}.png")
    port = processes.free_ports(1)
    with processes.Served([product.command(MODULE, port=port)], port=port, name="cells-ocr") as served:
        served.wait(request(folder), bool)
        found = {str(height): _lines(folder, height, port) for height in HEIGHTS}
    (folder / COUNTS).write_text(json.dumps(found), encoding="utf-8")


def request(folder: Path, height: int = HEIGHTS[0]) -> processes.Request:
    """Return a request to read a strip."""
    body = (pictures(folder) / f"{height}.png").read_bytes()
    return processes.Request(body, headers={"Content-Type": "image/png"})


def bodies(folder: Path) -> str:
    """Return the strips as a scenario has them."""
    counts = json.loads((folder / COUNTS).read_text(encoding="utf-8"))
    rows = [f'  {{file = "strips/{height}.png", widths = [{lines}]}},' for height, lines in counts.items()]
    return "\n".join(["bodies = [", *rows, "]"])


def _lines(folder: Path, height: int, port: int) -> int:
    _, answer = request(folder, height).send(port)
    return len(json.loads(answer)["lines"])
