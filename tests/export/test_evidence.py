import numpy as np
import pytest

from seg_scse.evaluation.loaded import load_run
from seg_scse.export.evidence import brought_to, drawn, middle, of_split, spread


def test_images_are_spread_over_all_there_are():
    assert spread(range(10, 21), 3) == [10, 15, 20]
    assert spread([4, 5], 3) == [4, 5]
    assert spread([4, 5], None) == [4, 5]


def test_the_middle_of_a_large_image_is_taken_and_small_ones_stay():
    image = np.arange(5 * 9).reshape(5, 9, 1)
    assert middle(image, 3)[..., 0].tolist() == image[1:4, 3:6, 0].tolist()
    assert middle(image, 20).shape == (5, 9, 1)


def test_an_image_is_brought_to_a_size_by_reflection():
    image = np.arange(6).reshape(2, 3, 1)
    assert brought_to(image, 3, 4)[..., 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5]]


def test_drawn_images_have_the_mean_and_spread_of_the_training(saved):
    loaded = load_run(saved, "best")
    images = list(drawn(loaded, 3).images())
    assert [(image.shape, image.dtype) for image in images] == [((64, 64, 3), np.float32)] * 3
    assert np.mean(images) == pytest.approx(0.3, abs=0.05)
    assert min(image.min() for image in images) >= 0
    assert all(map(np.array_equal, images, drawn(loaded, 3).images()))


def test_fewer_images_keep_their_names(saved):
    found = of_split(load_run(saved, "best"), "test", None).at_most(2)
    assert found.names == ("s02", "s11")
    assert [image.shape for image in found.images()] == [(48, 56, 3)] * 2
