"""An app in every form that the documentation shows, for type checkers to read (test_typing.py)."""

from dataclasses import dataclass

from regrain import GPU, SLO, App, Failure, onnx


@dataclass(frozen=True)
class Image:
    width: int
    height: int


@dataclass(frozen=True)
class Box:
    left: int


@dataclass(frozen=True)
class Crop:
    image: Image


@dataclass(frozen=True)
class Line:
    text: str


@dataclass(frozen=True)
class Page:
    lines: list[Line]
    width: int


app = App("ocr", slo=SLO(latency=0.8, attainment=0.95), sample="page.png")


@app.stage(cpu=1)
def decode(image: bytes) -> Image:
    return Image(len(image), 1)


class Detector:
    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold

    def __call__(self, image: Image, *, limit: int = 100) -> list[Box]:
        return [Box(0)][:limit]


detect = app.stage(memory="512Mi", size="pixels", timeout=2.0)(Detector)


@app.stage()
def crop(image: Image, boxes: list[Box]) -> list[Crop]:
    return [Crop(image) for _ in boxes]


def width_of(crop: Crop) -> float:
    return crop.image.width


@app.batched(max_size=16, size=width_of)
def orient(crops: list[Crop]) -> list[Crop]:
    return crops


class Recogniser:
    def __init__(self) -> None:
        self.net = onnx("rapidocr:models/PP-OCRv6_rec_small.onnx")

    def __call__(self, crops: list[Crop]) -> list[Line]:
        return [Line("") for _ in crops]


recognise = app.batched(max_size=32, max_wait=0.005, gpu=GPU(memory="1Gi"))(Recogniser)


extras = App("extras")


@extras.batched(errors="return")
def spell(lines: list[Line], scores: list[float]) -> list[Line]:
    return lines


@extras.stage(errors="return")
def score(line: Line, page: Image, weight: float = 1.0) -> float:
    return weight


@app.stage()
def split(image: Image, boxes: list[Box]) -> tuple[Image, list[Box]]:
    return image, boxes


@app.stage()
def assemble(lines: list[Line], width: int) -> Page:
    return Page(lines, width)


@app.flow
def read(image: bytes, limit: int = 10) -> Page:
    pixels = decode(image)
    page, boxes = split(pixels, detect(pixels, limit=limit))
    crops = crop(page, boxes)
    lines = recognise.map(orient.map(crops))
    return assemble(lines, width=page.width)


def called() -> tuple[Page, list[Line], list[float | Failure], list[Line | Failure], list[Box]]:
    """Stages as plain Python, and what comes out."""
    lines = recognise.map([Crop(Image(1, 1))])
    scores = score.map(lines, page=Image(1, 1), weight=2.0)
    spelled = spell.map(lines, [1.0])
    return read(b"", limit=3), lines, scores, spelled, detect(Image(1, 1))
