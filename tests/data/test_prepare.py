"""The order of preparing: what a division needs to know of the masks is measured first."""

import numpy as np
import pytest
from PIL import Image

from seg_scse.data.prepare import prepare_data
from seg_scse.errors import DataError

from .numeric import config_of, drawn, write


@pytest.fixture
def root(tmp_path):
    """Twenty images, four of which hold class 1."""
    masks = [np.full((20, 24), i % 5 == 0, np.uint8) for i in range(20)]
    return write(tmp_path / "d", drawn("uint16", 1) * 5, masks)


def test_a_stratified_division_knows_the_classes_of_each_mask(root):
    split = {"train": 0.5, "val": 0.25, "test": 0.25, "stratify": True}
    data = prepare_data(config_of(root, 1, split=split))
    holding = [sample.split for sample in data.manifest.samples if int(sample.id) % 5 == 0]
    assert sorted(holding) == ["test", "train", "train", "val"]


def test_a_known_division_is_kept_without_dividing_again(root):
    split = {"train": 0.5, "val": 0.25, "test": 0.25, "stratify": True}
    first = prepare_data(config_of(root, 1, split=split))
    again = prepare_data(config_of(root, 1, split=split), first.splits())
    assert again.splits() == first.splits()
    assert again.store.digest == first.store.digest


def test_what_is_wrong_with_files_is_said_before_they_are_divided(root):
    Image.new("L", (3, 3)).save(root / "masks/7.png")
    with pytest.raises(DataError, match="1 of 20 samples cannot be used"):
        prepare_data(config_of(root, 1, split={"train": 0.5, "val": 0.25, "test": 0.25, "stratify": True}))
