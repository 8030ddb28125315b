"""Describe a picture by two torch networks side by side: a label and a vector to compare it by.

It shows a preprocessing stage, two branches that need not wait for each other, and a join. The networks are
small, built from a seed and never trained: every replica has the same weights without a download, and what
the labels say means nothing.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

import numpy as np
import numpy.typing as npt
import PIL.Image
from torch import nn

from regrain import GPU, SLO, App, Tensor, torch
from regrain.errors import RequestError

SIDE = 96  # pixels; of what both networks take
LABELS = ("stripes", "dots", "waves", "checks", "blots", "rings", "grain", "plain")
VECTOR = 16  # numbers in an embedding
DECIMALS = 3
"""What is kept of an answer's numbers: the last digits depend on how many pictures a batch holds."""

Pixels = npt.NDArray[np.uint8]
Picture = Annotated[npt.NDArray[np.float32], Tensor("FP32", (3, SIDE, SIDE))]
Vector = Annotated[npt.NDArray[np.float32], Tensor("FP32", (VECTOR,))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a picture shows; confidence in [0, 1]."""

    name: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A picture described; `vector` has length 1, so that the product of two tells how alike they are."""

    label: Label
    vector: Vector
    width: int
    height: int


app = App("vision", slo=SLO(latency=0.2, attainment=0.95), sample="skimage:data/coffee.png")


@app.stage(cpu=1, size="bytes")
def decode(image: bytes) -> Pixels:
    """Return the pixels of an image file, (height, width, 3); RequestError (400) if it is none."""
    try:
        with PIL.Image.open(io.BytesIO(image)) as file:
            return np.asarray(file.convert("RGB"))
    except PIL.UnidentifiedImageError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the body is no image in a known format") from error
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"the image cannot be decoded: {error}") from error


@app.stage(cpu=1, size="pixels")
def prepare(pixels: Pixels) -> Picture:
    """Return the picture as the networks take it: (3, 96, 96), each number in [-1, 1]."""
    small = PIL.Image.fromarray(pixels).resize((SIDE, SIDE), PIL.Image.Resampling.BILINEAR)
    scaled = np.asarray(small, np.float32) / 127.5 - 1.0
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def network(outputs: int, width: int) -> nn.Module:
    """Return three convolutions of growing width, each halving the picture twice, and a head."""
    layers: list[nn.Module] = []
    channels = 3
    for wider in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


class Classifier:
    """Pictures -> labels."""

    def __init__(self) -> None:
        self.net = torch(lambda: network(len(LABELS), width=24), seed=1)

    def __call__(self, pictures: list[Picture]) -> list[Label]:
        scores = self.net(np.stack(pictures)).softmax(dim=1).numpy()
        best = scores.argmax(axis=1)
        return [
            Label(name=LABELS[place], confidence=round(float(row[place]), DECIMALS))
            for row, place in zip(scores, best, strict=True)
        ]


class Embedder:
    """Pictures -> vectors of length 1."""

    def __init__(self) -> None:
        self.net = torch(lambda: network(VECTOR, width=16), seed=2)

    def __call__(self, pictures: list[Picture]) -> list[Vector]:
        vectors = self.net(np.stack(pictures)).numpy()
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return list(np.round(vectors / lengths, DECIMALS))


classify = app.batched(max_size=16, max_wait=0.005, cpu=1, gpu=GPU(memory="512Mi"))(Classifier)
embed = app.batched(max_size=16, max_wait=0.005, cpu=1, gpu=GPU(memory="512Mi"))(Embedder)


@app.stage()
def join(pixels: Pixels, label: Label, vector: Vector) -> Result:
    """Put the branches together."""
    height, width = pixels.shape[:2]
    return Result(label=label, vector=vector, width=width, height=height)


@app.flow
def describe(image: bytes) -> Result:
    pixels = decode(image)
    picture = prepare(pixels)
    return join(pixels, classify(picture), embed(picture))
