import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.report import overlays
from seg_scse.report.curves import plot_epoch
from seg_scse.report.panel import KEPT, draw_panel, panel_picture
from seg_scse.training.panel import SIDE, EpochEnd, PanelImage

from .conftest import write_epochs

SIZE = 200
GAP, LINE = 6, 20


def drawn(task: str = "multiclass", size: int = SIZE, name: str = "scan/a", dice: float | None = 0.5) -> PanelImage:
    """A grey image: truth is the left half, the prediction the upper half of it and the right one's upper quarter."""
    truth, labels = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    truth[:, : size // 2] = 1
    labels[: size // 2, : size // 2] = 1
    labels[: size // 4, size // 2 :] = 1
    return PanelImage(name, np.full((size, size, 3), 200, np.uint8), truth, labels, task, dice)


def end(folder: Path, *images: PanelImage, epoch: int = 3) -> EpochEnd:
    return EpochEnd(folder, epoch, images)


def tile(picture: np.ndarray, column: int, size: int = SIZE, row: int = 0) -> np.ndarray:
    top = LINE + row * (LINE + size + GAP) + LINE
    left = GAP + column * (size + GAP)
    return picture[top : top + size, left : left + size]


def near(pixel: np.ndarray, colour: tuple[int, int, int], tolerance: int = 60) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= tolerance)


def test_the_picture_of_an_epoch_is_written_under_its_number_and_returned(tmp_path: Path) -> None:
    returned = draw_panel(end(tmp_path, drawn()))
    assert [path.name for path in (tmp_path / "panel").iterdir()] == ["epoch-0003.png"]
    assert returned is not None
    assert returned.dtype == np.uint8
    assert np.array_equal(np.asarray(Image.open(tmp_path / "panel" / "epoch-0003.png")), returned)


def test_an_epoch_that_was_not_validated_leaves_no_picture(tmp_path: Path) -> None:
    assert draw_panel(end(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_a_row_shows_the_image_truth_prediction_and_differences(tmp_path: Path) -> None:
    picture = np.asarray(panel_picture(end(tmp_path, drawn())))
    image, truth, prediction, differences = (tile(picture, column) for column in range(4))
    assert (image == 200).all()
    assert (truth[10, 180] == 200).all()
    assert not (truth[10, 10] == 200).all()
    assert not (truth[190, 10] == 200).all()
    assert near(truth[190, 99], overlays.class_colour(1))  # the contour
    assert (prediction[190, 10] == 200).all()
    assert not (prediction[10, 180] == 200).all()
    assert differences[10, 10].min() > 150  # correct
    assert near(differences[190, 10], overlays.MISSED)
    assert near(differences[10, 180], overlays.FALSE)
    assert differences[190, 180].max() < 100  # nothing in either


def test_differences_are_told_apart_without_seeing_colours(tmp_path: Path) -> None:
    differences = tile(np.asarray(panel_picture(end(tmp_path, drawn())).convert("L"))[..., None], 3)[..., 0]
    levels = sorted(int(differences[place]) for place in ((190, 180), (190, 10), (10, 180), (10, 10)))
    assert min(np.diff(levels)) >= 20


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_ignored_pixels_are_neither_right_nor_wrong(tmp_path: Path, task: str) -> None:
    image = drawn(task)
    image.truth[:] = 255
    differences = tile(np.asarray(panel_picture(end(tmp_path, image))), 3)
    assert differences.max() < 130
    assert np.ptp(differences.astype(int), axis=2).max() < 20


def test_labels_that_overlap_are_drawn_as_labels(tmp_path: Path) -> None:
    """Value 3 is both labels: no third class, and no confusion where one of them is found."""
    image = drawn("multilabel")
    image.truth[image.truth == 1] = 3
    differences = tile(np.asarray(panel_picture(end(tmp_path, image))), 3)
    assert near(differences[10, 10], overlays.MISSED)
    image.labels[:] = image.truth
    assert tile(np.asarray(panel_picture(end(tmp_path, image))), 3)[10, 10].min() > 150


def test_small_images_are_enlarged_in_whole_steps(tmp_path: Path) -> None:
    picture = np.asarray(panel_picture(end(tmp_path, drawn(size=48))))
    assert picture.shape[:2] == (LINE + LINE + 192 + GAP, 4 * (192 + GAP) + GAP)


def test_images_of_several_sizes_share_a_picture(tmp_path: Path) -> None:
    picture = np.asarray(panel_picture(end(tmp_path, drawn(), drawn(size=SIDE))))
    assert picture.shape[1] == 4 * (SIDE + GAP) + GAP
    assert (tile(picture, 0)[5:-5, 5:-5] == 200).all()


def test_a_name_that_no_font_has_is_drawn(tmp_path: Path) -> None:
    assert panel_picture(end(tmp_path, drawn(name="a\n\udcff\u5bfe.png", dice=None))).width > SIZE


def test_few_pictures_stay_of_a_long_run_the_latest_and_some_of_all_its_length(tmp_path: Path) -> None:
    image = drawn(size=192)
    counts = []
    for epoch in range(1, 151):
        if epoch % 3 == 0 or epoch > 100:
            draw_panel(end(tmp_path, image, epoch=epoch))
            counts.append(len(list((tmp_path / "panel").iterdir())))
    epochs = sorted(int(path.stem[-4:]) for path in (tmp_path / "panel").iterdir())
    assert max(counts) <= 2 * KEPT
    assert epochs[-KEPT:] == list(range(131, 151))
    assert epochs[:-KEPT] == [24, 48, 72, 96, 104, 112, 120, 128]


def test_the_command_line_redraws_curves_and_hands_the_panel_to_the_loggers(tmp_path: Path) -> None:
    write_epochs(tmp_path, ["0,10,1e-3,0.9,0.8,0.5,0.55,0.4,0.45,3.5"])
    pictures = plot_epoch(end(tmp_path, drawn(), epoch=1))
    assert set(pictures) == {"panel"}
    assert (tmp_path / "curves.png").exists()
    assert plot_epoch(end(tmp_path, epoch=2)) == {}
    assert [path.name for path in (tmp_path / "panel").iterdir()] == ["epoch-0001.png"]


def test_four_images_take_a_fraction_of_a_second(tmp_path: Path) -> None:
    images = [drawn(size=SIDE) for _ in range(4)]
    draw_panel(end(tmp_path, *images))
    started = time.process_time()
    draw_panel(end(tmp_path, *images))
    assert time.process_time() - started < 0.6, "about 0.2 s on one core"
