import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from seg_scse.errors import DataError
from seg_scse.report import figures, overlays, write_report
from seg_scse.report.cases import read_cases


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise(side: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, *channels), dtype=np.uint8)


def test_a_small_image_stays_as_it_is():
    data = png(noise(20, 3))
    assert figures.picture_uri(data, 10_000) == "data:image/png;base64," + base64.b64encode(data).decode()


def test_a_large_image_becomes_a_jpeg_that_fits():
    data = png(noise(300, 3))
    for room in (90_000, 60_000):
        uri = figures.picture_uri(data, room)
        assert uri.startswith("data:image/jpeg;base64,")
        assert len(base64.b64decode(uri.split(",")[1])) <= room
        assert decoded(uri).size == (300, 300)


def test_a_layer_that_takes_too_much_is_reduced():
    layer = overlays.label_layer(noise(600) % 5)
    assert decoded(figures.layer_uri(layer)).size == (600, 600)
    assert decoded(figures.layer_uri(layer, room=60_000)).size == (300, 300)
    assert decoded(figures.layer_uri(layer, room=1)).size == (150, 150)


def test_masks_without_an_image_lie_on_even_grey(make_run):
    folder = make_run(ids=["only"])
    index = folder / "cases" / "index.json"
    index.write_text(json.dumps([json.loads(index.read_text())[0] | {"image": None}]))
    (case,) = read_cases(index)
    drawing = figures.draw_case(folder / "cases", case, 0, ["background", "nucleus"])
    ground = decoded(drawing.image)
    assert ground.size == (48, 48)
    assert len(ground.convert("RGB").getcolors()) == 1
    assert "only" in write_report(folder).read_text()


def test_labels_are_drawn_with_the_contour_of_each(make_run):
    folder = make_run(classes=["nothing", "forest", "wet"], task="multilabel")
    case = read_cases(folder / "cases" / "index.json")[-1]
    drawing = figures.draw_case(folder / "cases", case, 0, ["nothing", "forest", "wet"], "multilabel")
    colours = {tuple(c) for c in np.asarray(decoded(drawing.truth).convert("RGBA")).reshape(-1, 4).tolist()}
    assert {(*overlays.class_colour(k), 255) for k in (1, 2)} <= colours
    page = write_report(folder).read_text()
    assert "Confusion of pixels" not in page
    assert "some missed, some false" in page


def test_bits_are_no_class_indices(make_run):
    classes = ["nothing", "forest", "wet"]
    folder = make_run(classes=classes, task="multilabel")
    (case, *_) = read_cases(folder / "cases" / "index.json")
    Image.fromarray(np.full((48, 48), 3, np.uint8)).save(folder / "cases" / case.truth)  # both labels
    figures.draw_case(folder / "cases", case, 0, classes, "multilabel")
    with pytest.raises(DataError, match=r"holds the values \[3\], which are no index of the 3 classes"):
        figures.draw_case(folder / "cases", case, 0, classes)


def test_a_bit_beyond_the_labels_is_refused(make_run):
    classes = ["nothing", "forest", "wet"]
    folder = make_run(classes=classes, task="multilabel")
    (case, *_) = read_cases(folder / "cases" / "index.json")
    Image.fromarray(np.full((48, 48), 4, np.uint8)).save(folder / "cases" / case.prediction)
    with pytest.raises(DataError, match=r"prediction\.png: holds the values \[4\]"):
        figures.draw_case(folder / "cases", case, 0, classes, "multilabel")


def test_a_picture_that_no_quality_makes_small_enough_is_reduced():
    data = png(noise(512, 3))
    assert decoded(figures.picture_uri(data, 40_000)).size == (256, 256)
    assert decoded(figures.picture_uri(data, 1)).size == (128, 128)
