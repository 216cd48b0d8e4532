"""The drawn data set: the same everywhere, complete, and varied enough to learn from."""

import csv
import hashlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from seg_scse.data.sets.synthetic import CLASSES, SPLIT_SIZES, draw_dataset
from seg_scse.errors import WriteError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "cells"
    draw_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def rows(root):
    with (root / "splits.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def _pixels(folder):
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def _digest(pixels):
    return hashlib.sha256(b"".join(name.encode() + array.tobytes() for name, array in pixels.items())).hexdigest()


def test_the_pixels_are_the_published_ones(root):
    assert _digest(_pixels(root / "masks"))[:16] == "aaa89827517f1ae9"
    assert _digest(_pixels(root / "images"))[:16] == "35ea0237f1b30257"


def test_the_files_are_complete_and_named_alike(root, rows):
    names = [row["id"] for row in rows]
    assert names[0] == "cell_000"
    for folder in ("images", "masks"):
        assert sorted(path.name for path in (root / folder).iterdir()) == [f"{name}.png" for name in names]
    assert sorted(path.name for path in root.iterdir()) == ["images", "masks", "splits.csv"]


def test_the_splits_have_their_sizes_and_share_no_slide(rows):
    assert Counter(row["split"] for row in rows) == SPLIT_SIZES
    splits_of = {row["group"]: {other["split"] for other in rows if other["group"] == row["group"]} for row in rows}
    assert all(len(splits) == 1 for splits in splits_of.values())


def test_images_and_masks_are_8_bit_of_several_sizes(root):
    images, masks = _pixels(root / "images"), _pixels(root / "masks")
    assert all(images[name].shape == masks[name].shape for name in images)
    assert all(array.dtype == np.uint8 for array in [*images.values(), *masks.values()])
    assert len({array.shape for array in images.values()}) == 3
    assert {int(value) for mask in masks.values() for value in np.unique(mask)} == set(range(len(CLASSES)))


def test_each_split_has_all_classes_and_an_image_without_one(root, rows):
    masks = _pixels(root / "masks")
    for split in SPLIT_SIZES:
        found = [tuple(np.unique(masks[row["id"]])) for row in rows if row["split"] == split]
        assert (0, 1, 2) in found
        assert {(0, 1), (0, 2)} & set(found)


def test_no_class_can_be_told_by_brightness_alone(root):
    images, masks = _pixels(root / "images"), _pixels(root / "masks")
    bright = {
        kind: np.concatenate([images[name][masks[name] == kind] for name in images]).astype(float) for kind in range(3)
    }
    means = [bright[kind].mean() for kind in (0, 2, 1)]
    assert means == sorted(means)  # background, elongated, round
    for darker, brighter in ((0, 2), (2, 1)):
        assert np.percentile(bright[darker], 95) > np.percentile(bright[brighter], 25)


def test_an_unwritable_root_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        draw_dataset(tmp_path / "file")
