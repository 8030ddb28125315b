"""What the OCR app reads, whatever the grain, and its stages as plain Python."""

import importlib.util
import io
import sys
from http import HTTPStatus
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

from regrain import testing
from regrain.errors import RequestError

FOLDER = Path(__file__).parent
PAGES = Path(importlib.util.find_spec("skimage").origin).parent / "data"

SENTENCE = "Let us first determine markers of the coins and the background"
PAGE_LINES = [
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
    "histogram of grey values:",
    ">>> markers = np.zeros_like(coins)",
]
"""In the last one the prompt and the underscore are at the limit of what can be read."""
STAGES = ["decode", "detect", "crop", "orient", "recognise", "assemble"]


@pytest.fixture(scope="module")
def ocr():
    """The app's module, under a name of its own: every example has an app.py."""
    spec = importlib.util.spec_from_file_location("ocr_app", FOLDER / "app.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["ocr_app"] = module
    sys.path.insert(0, str(FOLDER))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


@pytest.fixture(scope="module")
def session(ocr):
    with testing.Session(ocr.app) as session:
        yield session


def file_of(name):
    return (PAGES / name).read_bytes()


def opened(name):
    with PIL.Image.open(PAGES / name) as image:
        return image.copy()


def encoded(image, form="PNG"):
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def compact(text):
    return "".join(text.split())


def line_at(ocr, text, x, y, *, upside_down=False):
    box = ((x, y), (x + 100, y), (x + 100, y + 20), (x, y + 20))
    return ocr.Line(text=text, confidence=0.9, box=box, upside_down=upside_down)


@pytest.fixture(scope="module")
def crops(ocr):
    image = ocr.decode(file_of("page.png"))
    return ocr.crop(image, ocr.detect(image))


def test_a_page_is_read_line_by_line(ocr):
    page = ocr.read(file_of("page.png"))

    assert compact(SENTENCE) in compact(page.text)
    assert [compact(line.text) for line in page.lines[:-1]] == [compact(line) for line in PAGE_LINES[:-1]]
    assert "markers = np.zeros" in page.lines[-1].text
    assert all(0.9 < line.confidence <= 1 for line in page.lines)


def test_a_box_surrounds_its_line(ocr):
    """The heading of page.png stands at x 5 to 290, y 12 to 32."""
    heading = ocr.read(file_of("page.png")).lines[0]

    (left, top), _, (right, bottom), _ = heading.box
    assert 0 <= left < 12
    assert 4 < top < 18
    assert 280 < right < 310
    assert 26 < bottom < 40


@pytest.mark.parametrize(
    "grain",
    [
        "coarse",
        "fine",
        "decode+detect+crop | orient+recognise+assemble",
        "decode | detect | crop+orient | recognise+assemble",
    ],
)
def test_every_grain_answers_what_plain_python_answers(ocr, session, grain):
    image = file_of("page.png")

    page = session.run(image, grain=grain)

    assert page == ocr.read(image)


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_pages_that_are_read_together_read_as_they_do_alone(ocr, session, grain):
    """One of them is damaged, and one has no text."""
    files = [file_of("text.png"), file_of("page.png")[:9000], file_of("camera.png"), file_of("page.png")]

    slanted, damaged, picture, page = session.together([{"image": file} for file in files], grain=grain)

    assert isinstance(damaged, RequestError)
    assert (slanted.value, picture.value, page.value) == tuple(map(ocr.read, (files[0], files[2], files[3])))


def test_handwriting_at_a_slant_is_found_and_partly_read(ocr):
    (line,) = ocr.read(file_of("text.png")).lines

    (_, left_top), (_, right_top), _, _ = line.box
    assert right_top > left_top + 50
    assert line.confidence < 0.8


@pytest.mark.parametrize("name", ["camera.png", "brick.png", "chelsea.png", "microaneurysms.png"])
def test_a_picture_without_text_is_an_empty_page(ocr, name):
    assert ocr.read(file_of(name)) == ocr.Page(text="", confidence=0.0, lines=[])


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_a_picture_without_text_is_an_empty_page_for_every_grain(session, grain):
    page = session.run(file_of("camera.png"), grain=grain)

    assert page.lines == []


def test_a_page_that_is_upside_down_reads_the_same(ocr):
    turned = opened("page.png").rotate(180)

    page = ocr.read(encoded(turned))

    assert [compact(line.text) for line in page.lines[:-1]] == [compact(line) for line in PAGE_LINES[:-1]]
    assert all(line.upside_down for line in page.lines)


@pytest.mark.parametrize("angle", [-3, 5])
def test_a_page_that_lies_askew_is_read_in_order(ocr, angle):
    """Its short lines have their middles off those of the long ones, so heights on the page alone mislead."""
    turned = opened("page.png").convert("RGB").rotate(angle, expand=True, fillcolor="white")

    page = ocr.read(encoded(turned))

    assert [line.text[:5] for line in page.lines][:6] == [line[:5] for line in PAGE_LINES[:6]]


@pytest.mark.parametrize("angle", [90, 270])
def test_a_page_on_its_side_is_read_in_order(ocr, angle):
    page = ocr.read(encoded(opened("page.png").rotate(angle, expand=True)))

    assert compact(SENTENCE) in compact(page.text)


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "WEBP", "BMP"])
def test_a_page_reads_the_same_from_every_image_format(ocr, form):
    page = ocr.read(encoded(opened("page.png"), form))

    assert compact(SENTENCE) in compact(page.text)


def test_a_whole_page_of_small_print_is_read(ocr):
    """A4 at 150 dpi; the detector sees capitals under four pixels high."""
    sheet = PIL.Image.new("RGB", (1240, 1754), "white")
    font = PIL.ImageFont.load_default(25)
    for place in range(12):
        line = f"Line {place} tells what the line before has left out"
        PIL.ImageDraw.Draw(sheet).text((60, 100 + 50 * place), line, fill="black", font=font)

    page = ocr.read(encoded(sheet))

    assert [compact(line.text) for line in page.lines] == [
        f"Line{place}tellswhatthelinebeforehasleftout" for place in range(12)
    ]


@pytest.mark.parametrize("form", ["PPM", "PCX"])
def test_a_format_that_is_not_listed_is_refused(ocr, form):
    with pytest.raises(RequestError, match="known are PNG, JPEG, TIFF"):
        ocr.decode(encoded(PIL.Image.new("RGB", (20, 10)), form))


def test_dark_text_on_a_transparent_ground_is_read(ocr):
    ink = PIL.Image.new("RGBA", (320, 60), (0, 0, 0, 0))
    font = PIL.ImageFont.load_default(28)
    PIL.ImageDraw.Draw(ink).text((10, 12), "transparent ground", fill="black", font=font)

    page = ocr.read(encoded(ink))

    assert compact(page.text) == "transparentground"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "no image in a known format", id="empty"),
        pytest.param(b"not an image", "no image in a known format", id="text"),
        pytest.param(file_of("page.png")[:20_000], "truncated", id="cut short"),
        pytest.param(file_of("rocket.jpg")[:20_000], "truncated", id="JPEG cut short"),
    ],
)
def test_what_is_no_whole_image_is_a_bad_request(ocr, body, said):
    with pytest.raises(RequestError, match=said) as caught:
        ocr.decode(body)

    assert caught.value.status == HTTPStatus.BAD_REQUEST


def test_a_truncated_image_ends_the_request_with_its_status(session):
    with pytest.raises(RequestError, match="truncated") as caught:
        session.run(file_of("page.png")[:20_000], grain="fine")

    assert caught.value.status == HTTPStatus.BAD_REQUEST


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(ocr):
    large = encoded(PIL.Image.new("1", (10_000, 5_001)))

    with pytest.raises(RequestError, match="10000 x 5001 pixels; at most 50000000") as caught:
        ocr.decode(large)

    assert caught.value.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_an_image_of_one_pixel_is_an_empty_page(ocr):
    assert ocr.read(encoded(PIL.Image.new("RGB", (1, 1)))).lines == []


def test_decoding_gives_blue_first(ocr):
    pixels = ocr.decode(encoded(PIL.Image.new("RGB", (3, 2), (255, 128, 1))))

    assert pixels.shape == (2, 3, 3)
    assert pixels[0, 0].tolist() == [1, 128, 255]


def test_detection_finds_a_box_per_line(ocr):
    boxes = ocr.detect(ocr.decode(file_of("page.png")))

    assert boxes.shape == (len(PAGE_LINES), 4, 2)
    assert boxes.dtype == np.float32


def test_a_line_that_runs_down_the_page_is_cut_out_lying(ocr):
    page = np.zeros((200, 100, 3), np.uint8)
    boxes = np.array([[[10, 10], [30, 10], [30, 190], [10, 190]]], np.float32)

    (cut,) = ocr.crop(page, boxes)

    assert cut.image.shape == (20, 180, 3)


def test_a_box_over_the_edge_is_answered_within_the_page(ocr):
    page = np.zeros((50, 100, 3), np.uint8)
    boxes = np.array([[[-5, -4], [120, -4], [120, 20], [-5, 20]]], np.float32)

    (cut,) = ocr.crop(page, boxes)

    assert cut.box == ((0, 0), (99, 0), (99, 20), (0, 20))
    assert cut.image.shape == (24, 125, 3)


def test_a_line_is_turned_once_and_only_if_it_is_upside_down(ocr, crops):
    overturned = [ocr.Crop(image=cut.image[::-1, ::-1], box=cut.box) for cut in crops]

    turned = ocr.orient.map(crops + overturned)

    assert [cut.upside_down for cut in turned] == [False] * len(crops) + [True] * len(crops)
    for before, after in zip(crops, turned[len(crops) :], strict=True):
        assert (after.image == before.image).all()


def test_what_a_line_reads_as_does_not_depend_on_its_batch(ocr, crops):
    alone = [ocr.recognise(cut) for cut in crops]

    together = ocr.recognise.map(crops)
    reversed_twice = ocr.recognise.map((crops * 2)[::-1])[::-1]

    assert together == alone
    assert reversed_twice == alone * 2


def test_stages_leave_their_input_alone(ocr, crops):
    """Arrays come from other stages read-only."""
    image = ocr.decode(file_of("page.png"))
    image.flags.writeable = False
    boxes = ocr.detect(image)
    boxes.flags.writeable = False
    cuts = ocr.crop(image, boxes)
    for cut in cuts:
        cut.image.flags.writeable = False

    assert ocr.recognise.map(ocr.orient.map(cuts)) == ocr.recognise.map(ocr.orient.map(crops))


def test_no_crops_give_no_lines(ocr):
    assert ocr.recognise.map(ocr.orient.map([])) == []


def test_lines_are_put_in_order_from_the_top_and_from_the_left(ocr):
    lines = [
        line_at(ocr, text, x, y) for text, x, y in [("d", 5, 90), ("b", 200, 14), ("c", 0, 50), ("a", 0, 10)]
    ]

    assert ocr.assemble(lines).text == "a\nb\nc\nd"


def test_a_page_of_lines_upside_down_is_read_from_its_own_top(ocr):
    lines = [
        line_at(ocr, text, x, y, upside_down=True)
        for text, x, y in [("c", 0, 10), ("b", 0, 50), ("a", 200, 52)]
    ]

    assert ocr.assemble(lines).text == "a\nb\nc"


def test_a_doubtful_line_is_left_out(ocr):
    sure = line_at(ocr, "text", 0, 0)
    doubtful = ocr.Line(text="?", confidence=0.59, box=sure.box, upside_down=False)

    assert ocr.assemble([doubtful, sure]) == ocr.Page(text="text", confidence=0.9, lines=[sure])


def test_a_line_without_characters_has_no_confidence(ocr):
    blank = ocr.Crop(image=np.full((48, 160, 3), 255, np.uint8), box=((0, 0), (1, 0), (1, 1), (0, 1)))

    line = ocr.recognise(blank)

    assert (line.text, line.confidence) == ("", 0.0)


def test_the_stages_are_named_in_the_order_of_the_flow(ocr):
    assert list(ocr.app.graph.stages) == STAGES


def test_wide_lines_cost_more(ocr, crops):
    heading = min(crops, key=lambda cut: cut.image.shape[1])
    widest = max(crops, key=lambda cut: cut.image.shape[1])

    assert 160 <= ocr.recognise.measure(heading) < ocr.recognise.measure(widest) <= ocr.WIDEST_LINE
