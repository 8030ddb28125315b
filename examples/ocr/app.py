"""Read the text on a page image with three neural networks.

The networks are the ONNX files inside the PyPI package rapidocr (PP-OCR): one finds lines of text, one tells
upright from upside down, one reads. How many lines there are differs from page to page, so the last two take
the lines of all pages at hand together.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import groupby

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
from boxes import Corners, Floats, Image, find_boxes, reading_order, straighten
from cv2.typing import MatLike

from regrain import GPU, SLO, App, onnx
from regrain.errors import RequestError

LARGEST_PAGE = 50_000_000  # pixels; an A3 page at 400 dpi has 31 million
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")  # Pillow knows more, some by starting programs
DETECTOR_SIDE = 384
"""Pixels of the longer side of what the detector sees: page.png as it is, in 60 ms on one core.

Larger pages are scaled down to it. Lines stand out even where letters are past reading (all 34 lines of a
printed A4 page do), and reading is done on the page itself. 736 pixels take nearly four times as long.
"""
DETECTOR_STEP = 32  # the detector halves its input five times
LINE_HEIGHT = 48  # pixels, of what the other two networks take
SLICE_WIDTH = 192  # pixels, of what the line classifier takes
EDGE = 6  # of a line's height a sixth above and below is hidden from the line classifier
UPSIDE_DOWN = 0.5  # mean over a line's slices; of page.png upright at most 0.3, turned at least 0.7
WIDTH_STEP = 160
"""Lines are padded to a multiple of this many pixels: those of one width go through the network together, and
what a line reads as does not depend on which others are there."""
WIDEST_LINE = 3200  # pixels; wider lines are squeezed
ROWS = 8  # lines that the reader takes at once: its answer is 9 MB for a line of 960 pixels
LEAST_CONFIDENCE = 0.6  # what is read with less is no text


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A line of text cut out of a page; `box` is its corners there, clockwise from the top left."""

    image: Image
    box: Corners
    upside_down: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of text as read; confidence in [0, 1]."""

    text: str
    confidence: float
    box: Corners
    upside_down: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page as read, in reading order; confidence is the mean of its lines', 0 without any."""

    text: str
    confidence: float
    lines: list[Line]


app = App("ocr", slo=SLO(latency=0.8, attainment=0.95), sample="skimage:data/page.png")


@app.stage(cpu=1, size="bytes")
def decode(image: bytes) -> Image:
    """Return the pixels of an image file, (h, w, 3), blue first, as the networks were trained.

    Raises:
        RequestError: 400 for what is no image or is damaged, 413 for one that is too large.
    """
    try:
        with PIL.Image.open(io.BytesIO(image), formats=FORMATS) as file:
            if file.width * file.height > LARGEST_PAGE:
                raise RequestError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"the image has {file.width} x {file.height} pixels; at most {LARGEST_PAGE} are allowed",
                )
            upright = PIL.ImageOps.exif_transpose(file).convert("RGBA")
    except PIL.UnidentifiedImageError as error:
        detail = f"the body is no image in a known format; known are {', '.join(FORMATS)}"
        raise RequestError(HTTPStatus.BAD_REQUEST, detail) from error
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"the image cannot be decoded: {error}") from error
    paper = PIL.Image.new("RGBA", upright.size, "white")
    rgb = np.asarray(PIL.Image.alpha_composite(paper, upright).convert("RGB"))
    return np.ascontiguousarray(rgb[:, :, ::-1])


class Detector:
    """Finds lines of text: image (h, w, 3) -> boxes (n, 4, 2), corners on the page."""

    def __init__(self) -> None:
        self.net = onnx("rapidocr:models/PP-OCRv6_det_small.onnx")

    def __call__(self, image: Image) -> Floats:
        height, width = image.shape[:2]
        scale = min(1.0, DETECTOR_SIDE / max(width, height))
        sides = [max(1, round(side * scale / DETECTOR_STEP)) * DETECTOR_STEP for side in (width, height)]
        (scores,) = self.net(_normalised(cv2.resize(image, (sides[0], sides[1])))[np.newaxis])
        return find_boxes(np.asarray(scores, np.float32)[0, 0], width, height)


detect = app.stage(cpu=1, memory="256Mi")(Detector)


@app.stage(cpu=1)
def crop(image: Image, boxes: Floats) -> list[Crop]:
    """Cut the boxes out of the page; their corners are kept to its edges in the answer."""
    edge = (image.shape[1] - 1, image.shape[0] - 1)
    crops = []
    for box in boxes:
        left_top, right_top, right_bottom, left_bottom = (
            (int(x), int(y)) for x, y in np.clip(np.rint(box), 0, edge)
        )
        corners = (left_top, right_top, right_bottom, left_bottom)
        crops.append(Crop(image=straighten(image, box), box=corners))
    return crops


def width_of(crop: Crop) -> int:
    """Return how many pixels wide the crop is for the reader."""
    height, width = crop.image.shape[:2]
    steps: int = -(-LINE_HEIGHT * width // (height * WIDTH_STEP))
    return min(steps * WIDTH_STEP, WIDEST_LINE)


class Orienter:
    """Turns lines that are upside down.

    The classifier takes pieces four times as wide as high. A line is shown to it in slices, since squeezed
    into one piece its letters are past recognition; and without its edges, since on dense pages there are
    strokes of the lines above and below, which mislead it.
    """

    def __init__(self) -> None:
        self.net = onnx("rapidocr:models/ch_ppocr_mobile_v2.0_cls_mobile.onnx")

    def __call__(self, crops: list[Crop]) -> list[Crop]:
        slices = [[_fitted(piece, SLICE_WIDTH) for piece in _slices(crop.image)] for crop in crops]
        (scores,) = self.net(np.stack([piece for pieces in slices for piece in pieces]))
        ends = np.cumsum([len(pieces) for pieces in slices])
        means = [of_one.mean() for of_one in np.split(np.asarray(scores, np.float32)[:, 1], ends[:-1])]
        return [
            _turned(crop) if mean > UPSIDE_DOWN else crop for crop, mean in zip(crops, means, strict=True)
        ]


orient = app.batched(cpu=1, memory="256Mi", max_size=16, max_wait=0.005, size=width_of)(Orienter)


class Recogniser:
    """Reads lines: the network gives each strip of eight pixels a distribution over characters and "none"."""

    def __init__(self) -> None:
        self.net = onnx("rapidocr:models/PP-OCRv6_rec_small.onnx")
        self.characters = ["", *self.net.metadata["character"].split("\n"), " "]

    def __call__(self, crops: list[Crop]) -> list[Line]:
        lines: dict[int, Line] = {}
        for width, places in _by_width(crops):
            (scores,) = self.net(np.stack([_fitted(crops[place].image, width) for place in places]))
            for place, strips in zip(places, np.asarray(scores, np.float32), strict=True):
                lines[place] = self._line(crops[place], strips)
        return [lines[place] for place in range(len(crops))]

    def _line(self, crop: Crop, strips: Floats) -> Line:
        """Decode (strips, characters) as CTC asks: equal neighbours are one, "none" is dropped."""
        best = strips.argmax(axis=1)
        kept = np.append(True, best[1:] != best[:-1]) & (best != 0)
        text = "".join(self.characters[index] for index in best[kept])
        # Three digits: the further ones depend on how many rows the network computes at once.
        confidence = round(float(strips.max(axis=1)[kept].mean()), 3) if text else 0.0
        return Line(text=text, confidence=confidence, box=crop.box, upside_down=crop.upside_down)


recognise = app.batched(
    cpu=1, memory="1Gi", gpu=GPU(memory="1Gi"), max_size=32, max_wait=0.005, size=width_of
)(Recogniser)


@app.stage(cpu=1)
def assemble(lines: list[Line]) -> Page:
    """Put the lines into reading order and leave out what is no text."""
    text = [line for line in lines if line.confidence >= LEAST_CONFIDENCE]
    order = reading_order([line.box for line in text], [line.upside_down for line in text])
    mean = sum(line.confidence for line in text) / len(text) if text else 0.0
    return Page(
        text="\n".join(text[place].text for place in order),
        confidence=round(mean, 3),
        lines=[text[place] for place in order],
    )


@app.flow
def read(image: bytes) -> Page:
    """Read a page image."""
    pixels = decode(image)
    return assemble(recognise.map(orient.map(crop(pixels, detect(pixels)))))


def _normalised(image: MatLike) -> Floats:
    """Return (3, h, w) in [-1, 1], as all three networks take it."""
    return np.ascontiguousarray((image.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1))


def _fitted(image: Image, width: int) -> Floats:
    """Return the image scaled to LINE_HEIGHT and padded with grey to `width`: (3, LINE_HEIGHT, width)."""
    natural = -(-LINE_HEIGHT * image.shape[1] // image.shape[0])
    scaled = _normalised(cv2.resize(image, (min(natural, width), LINE_HEIGHT)))
    return np.pad(scaled, ((0, 0), (0, 0), (0, width - scaled.shape[2])))


def _slices(image: Image) -> list[Image]:
    edge = image.shape[0] // EDGE
    inner = image[edge : image.shape[0] - edge]
    count = max(1, round(inner.shape[1] / inner.shape[0] * LINE_HEIGHT / SLICE_WIDTH))
    return np.array_split(inner, count, axis=1)


def _turned(crop: Crop) -> Crop:
    return replace(crop, image=np.ascontiguousarray(crop.image[::-1, ::-1]), upside_down=True)


def _by_width(crops: Sequence[Crop]) -> Iterator[tuple[int, list[int]]]:
    """Group places in the list by the crop's width, at most ROWS at a time."""
    widths = [width_of(crop) for crop in crops]
    for width, group in groupby(sorted(range(len(crops)), key=widths.__getitem__), key=widths.__getitem__):
        places = list(group)
        for start in range(0, len(places), ROWS):
            yield width, places[start : start + ROWS]
