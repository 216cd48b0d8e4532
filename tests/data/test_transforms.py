"""Augmentation: sizes, seeds, and masks that hold no invented label."""

import pickle
from pathlib import Path

import albumentations as A
import numpy as np
import pytest

from seg_scse.config.schema import IGNORE_INDEX, AugmentationConfig
from seg_scse.data import transforms
from seg_scse.data.transforms import build_transform

PRESETS = ("none", "flips", "light", "medium", "heavy")
GEOMETRIC = ("flips", "light", "medium", "heavy")


def _build(preset, crop=64, colour=True):
    return build_transform(AugmentationConfig(preset=preset), crop, colour)


def _sample(height, width, channels=3, seed=0, labels=(0, 1, 7)):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return image, np.asarray(rng.choice(labels, (height, width)), np.uint8)


def _smooth(height, width):
    """An image that says where it was taken from: row in channel 0, column in channel 1."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, rows], -1), np.ones((height, width), np.uint8)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_label_is_invented_on_200_random_masks(preset):
    transform = _build(preset, 32)
    rng = np.random.default_rng(3)
    for seed in range(200):
        labels = rng.choice(254, 3, replace=False)
        image, mask = _sample(*rng.integers(20, 80, 2), seed=seed, labels=labels)
        out = transform(image, mask, seed)[1]
        assert set(np.unique(out)) <= set(np.unique(mask)) | {IGNORE_INDEX}


@pytest.mark.parametrize("preset", PRESETS)
def test_ignored_pixels_stay_ignored(preset):
    image, mask = _sample(90, 90, labels=(IGNORE_INDEX,))
    assert (_build(preset)(image, mask, 4)[1] == IGNORE_INDEX).all()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(64, 64), (200, 130), (63, 300), (31, 31), (1, 50), (50, 1), (1, 1)])
def test_every_size_gives_a_writable_contiguous_crop(preset, channels, dtype, size):
    image, mask = _sample(*size, channels)
    if dtype == np.float32:
        image = image / np.float32(255)
    image.setflags(write=False)
    mask.setflags(write=False)
    for seed in range(4):
        crop, labels = _build(preset, colour=channels <= 3)(image, mask, seed)
        assert crop.shape == (64, 64, channels)
        assert labels.shape == (64, 64)
        assert crop.dtype == dtype
        assert labels.dtype == np.uint8
        assert dtype == np.uint8 or 0 <= crop.min() <= crop.max() <= 1
        assert all(a.flags.c_contiguous and a.flags.writeable for a in (crop, labels))
        assert not np.shares_memory(crop, image)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_sample_is_not_changed(preset):
    image, mask = _sample(80, 80)
    before = image.copy(), mask.copy()
    _build(preset)(image, mask, 1)
    assert (image == before[0]).all()
    assert (mask == before[1]).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_seed_gives_the_same_draw_whatever_was_drawn_before(preset):
    image, mask = _sample(150, 150)
    fresh, used = _build(preset), _build(preset)
    for seed in range(5):
        used(image, mask, seed)
    for seed in (9, 3, 2**64 - 1):
        for a, b in zip(fresh(image, mask, seed), used(image, mask, seed), strict=True):
            assert (a == b).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_seeds_differ(preset):
    image, mask = _sample(150, 150)
    transform = _build(preset)
    assert len({transform(image, mask, seed)[0].tobytes() for seed in range(50)}) == 50


@pytest.mark.parametrize("preset", PRESETS)
def test_a_pickled_transform_draws_the_same(preset):
    image, mask = _sample(150, 150)
    transform = _build(preset)
    copy = pickle.loads(pickle.dumps(transform))  # noqa: TID251 - pickled here
    assert all((a == b).all() for a, b in zip(transform(image, mask, 5), copy(image, mask, 5), strict=True))


def test_the_steps_of_one_draw_are_independent_of_each_other():
    # with one seed for all steps, brightness and contrast would be applied to exactly the same samples
    steps = transforms._Steps([A.RandomBrightnessContrast(0.2, 0, p=0.5), A.Rotate((90, 90), p=0.5)])
    image = np.full((64, 64, 1), 100, np.uint8)
    image[:32] = 50
    plain = image.astype(int)
    kinds = set()
    for seed in range(40):
        drawn = steps(image, np.zeros((64, 64), np.uint8), np.random.default_rng(seed))[0].astype(int)
        turned = abs(drawn[:32].mean() - drawn[32:].mean()) < 1
        brightened = not np.isclose(drawn.mean(), plain.mean(), atol=0.5)
        kinds.add((turned, brightened))
    assert len(kinds) == 4


@pytest.mark.parametrize("preset", PRESETS)
def test_a_small_image_is_reflected_and_its_surroundings_are_ignored(preset):
    image, mask = np.full((31, 31, 3), 90, np.uint8), np.ones((31, 31), np.uint8)
    crop, labels = _build(preset)(image, mask, 0)
    assert set(np.unique(labels)) == {1, IGNORE_INDEX}
    assert 200 < np.count_nonzero(labels == 1) < 1800
    assert crop.min() > 30  # one grey level, darkened and noisy at most: no black frame


def test_what_a_distortion_uncovers_is_ignored():
    change = A.Compose([transforms._distortion()], seed=0)
    image, mask = np.zeros((60, 60, 1), np.uint8), np.ones((60, 60), np.uint8)
    labels = {int(label) for _ in range(60) for label in np.unique(change(image=image, mask=mask)["mask"])}
    assert labels == {1, IGNORE_INDEX}


def test_padding_keeps_each_pixel_of_a_small_image_once():
    image, mask = _smooth(31, 40)
    crop, labels = _build("none")(image, mask, 3)
    rows, columns = np.nonzero(labels != IGNORE_INDEX)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (31, 40)
    assert (crop[rows, columns] == image.reshape(-1, 3)).all()


def test_small_images_move_within_the_crop_and_crops_within_large_ones():
    small, large = _smooth(31, 64), _smooth(100, 64)
    transform = _build("none")
    tops = {int(np.nonzero(transform(*small, seed)[1][:, 0] == 1)[0][0]) for seed in range(300)}
    assert tops == set(range(64 - 31 + 1))
    assert {int(transform(*large, seed)[0][0, 0, 0]) for seed in range(300)} == set(range(100 - 64 + 1))


@pytest.mark.parametrize("preset", GEOMETRIC)
def test_image_and_mask_move_together(preset):
    rows, columns = np.mgrid[:160, :160]
    mask = ((rows // 20 + columns // 27) % 2).astype(np.uint8)
    image = np.repeat(mask[..., None] * 200, 3, 2)
    for seed in range(30):
        crop, labels = _build(preset)(image, mask, seed)
        known = labels != IGNORE_INDEX
        agree = (crop[..., 0] > crop.mean()) == (labels == 1)
        assert agree[known].mean() > 0.93


def test_a_crop_inside_a_large_image_loses_nothing():
    image, mask = _smooth(250, 250)
    for seed in range(60):
        crop, labels = _build("light", 32)(image, mask, seed)
        if crop[..., :2].min() > 40 and crop[..., :2].max() < 210:
            assert (labels == 1).all()


def test_flips_give_all_eight_symmetries_and_nothing_else():
    image, mask = _sample(64, 64)
    expected = {np.rot90(side, turn).tobytes() for side in (image, image[::-1]) for turn in range(4)}
    transform = _build("flips")
    assert {transform(image, mask, seed)[0].tobytes() for seed in range(100)} == expected


@pytest.mark.parametrize("preset", ["none", "flips"])
def test_a_crop_around_a_pixel_holds_it(preset):
    image, mask = _smooth(200, 200)
    corners = set()
    for seed in range(200):
        crop, labels = _build(preset)(image, mask, seed, (90, 3))
        rows, columns = crop[..., 0], crop[..., 1]
        assert ((rows == 90) & (columns == 3)).any()
        assert (labels == 1).all()
        corners.add((int(rows.min()), int(columns.min())))
    assert min(corners)[0] < 32
    assert max(corners)[0] > 85
    assert {column for _, column in corners} == {0, 1, 2, 3}


def test_a_moved_crop_keeps_its_centre():
    image, mask = _smooth(64, 64)
    centres = [_build("light")(image, mask, seed)[0][31:33, 31:33, :2].mean((0, 1)) for seed in range(60)]
    same = [abs(centre - (31.5, 31.5)).max() < 1 for centre in centres]
    assert sum(same) > 10  # 65 % are made brighter or darker; none of the others differs


def test_brightness_and_gamma_do_the_same_to_float_as_to_8_bit():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    changed = 0
    for seed in range(60):
        exact = transforms._toned(image / np.float32(255), np.random.default_rng(seed))
        drawn = transforms._toned(image, np.random.default_rng(seed))
        assert exact.dtype == np.float32
        assert np.abs(drawn - exact * 255).max() <= 0.51
        changed += not np.array_equal(drawn, image)
    assert 30 <= changed <= 48  # 65 %


def test_none_only_crops():
    image, mask = _sample(64, 64)
    crop, labels = _build("none")(image, mask, 8)
    assert (crop == image).all()
    assert (labels == mask).all()


def test_grey_images_stay_grey():
    grey = np.repeat(_sample(80, 80, 1)[0], 3, 2)
    noise = []
    for seed in range(40):
        crop = _build("medium")(grey, np.zeros((80, 80), np.uint8), seed)[0].astype(int)
        noise.append(np.ptp(crop, axis=-1).mean())
    # noise differs per channel; nothing else may tint a grey image
    assert sum(value > 0.5 for value in noise) < 20


def test_a_misspelt_argument_is_an_error(monkeypatch):
    def misspelt():
        return A.Affine(scale=(0.9, 1.1), mask_fill=255)

    monkeypatch.setattr(transforms, "_distortion", misspelt)
    with pytest.raises(UserWarning, match="mask_fill"):
        _build("light")


def test_the_update_check_is_switched_off_before_the_import():
    source = Path(transforms.__file__).read_text(encoding="utf-8")
    assert source.index('os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")') < source.index(
        "import albumentations"
    )
