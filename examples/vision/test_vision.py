"""What the vision app answers, whatever the grain, and its stages as plain Python."""

import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from regrain import RequestError, testing

pytest.importorskip("torch", reason="torch is not installed: pip install 'regrain[torch]'")

PICTURES = Path(importlib.util.find_spec("skimage").origin).parent / "data"
NAMES = ["coffee.png", "astronaut.png", "coins.png", "rocket.jpg"]
GRAINS = ["coarse", "fine", "decode+prepare | classify+embed | join"]


@pytest.fixture(scope="module")
def vision():
    """The app's module, under a name of its own: every example has an app.py."""
    spec = importlib.util.spec_from_file_location("vision_app", Path(__file__).parent / "app.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["vision_app"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def session(vision):
    with testing.Session(vision.app) as session:
        yield session


def file_of(name):
    return (PICTURES / name).read_bytes()


def facts(result):
    return (result.label, result.vector.tolist(), result.width, result.height)


@pytest.mark.parametrize("name", NAMES)
def test_every_grain_gives_the_same_answer(session, name):
    image = file_of(name)

    answers = [facts(session.run(image, grain=grain)) for grain in GRAINS]

    assert answers[1:] == answers[:1] * (len(GRAINS) - 1)


def test_pictures_differ_in_their_answers(session):
    vectors = [tuple(session.run(file_of(name)).vector.tolist()) for name in NAMES]

    assert len(set(vectors)) == len(NAMES)


def test_every_replica_has_the_same_weights(vision, session):
    image = file_of("coffee.png")

    again = testing.run(vision.app, image)

    assert facts(again) == facts(session.run(image))


def test_a_picture_is_answered_alike_alone_and_in_a_batch(session):
    images = [file_of(name) for name in NAMES]
    alone = [session.run(image) for image in images]

    together = session.together([{"image": image} for image in images], grain="fine")

    for one, other in zip(alone, together, strict=True):
        assert other.value.label.name == one.label.name
        np.testing.assert_allclose(other.value.vector, one.vector, atol=0.002)


def test_the_answer_tells_size_label_and_a_vector_of_length_one(vision, session):
    result = session.run(file_of("coffee.png"))

    assert (result.width, result.height) == (600, 400)
    assert result.label.name in vision.LABELS
    assert result.vector.dtype == np.float32
    assert np.linalg.norm(result.vector) == pytest.approx(1.0, abs=0.01)


def test_pictures_are_prepared_for_the_networks(vision):
    picture = vision.prepare(np.full((10, 30, 3), 255, np.uint8))

    assert (picture.shape, picture.dtype) == ((3, 96, 96), np.float32)
    assert (picture == 1.0).all()


def test_grey_pictures_are_read_too(session):
    buffer = io.BytesIO()
    PIL.Image.new("L", (5, 4), 7).save(buffer, "PNG")

    result = session.run(buffer.getvalue())

    assert (result.width, result.height) == (5, 4)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not an image", id="no image"),
        pytest.param(file_of("coffee.png")[:5000], id="truncated"),
    ],
)
def test_what_is_no_picture_is_the_callers_mistake(session, body):
    with pytest.raises(RequestError) as caught:
        session.run(body, grain="fine")

    assert (caught.value.status, caught.value.stage) == (400, "decode")
    assert "image" in caught.value.detail
    assert "0x" not in caught.value.detail


def test_the_manifest_says_what_the_app_takes_and_gives(vision):
    manifest = vision.app.manifest()

    assert [parameter.kind for parameter in manifest.parameters] == ["bytes"]
    assert manifest.answer.kind == "json"
    assert manifest.sample.content_type == "image/png"
