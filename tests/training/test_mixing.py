import numpy as np
import pytest
import torch
from torch import Tensor

from seg_scse.config.schema import AugmentationConfig
from seg_scse.training.mixing import mix


def marked(count: int = 5, height: int = 24, width: int = 32) -> tuple[Tensor, Tensor]:
    """Draw a batch in which image and mask of a pixel tell the sample, in channels_last memory."""
    target = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1).repeat(1, height, width)
    target[0, :, : width // 2] = 255
    images = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).repeat(1, 3, height, width)
    return images.contiguous(memory_format=torch.channels_last), target


def setting(mix_: str, share: float = 1.0, alpha: float = 1.0) -> AugmentationConfig:
    return AugmentationConfig(mix=mix_, mix_share=share, mix_alpha=alpha)


@pytest.mark.parametrize("seed", range(20))
def test_each_pixel_of_cutmix_has_image_and_mask_of_one_crop(seed: int) -> None:
    images, target = marked()
    mixed, targets = mix(images, target, setting("cutmix"), np.random.default_rng(seed))
    [(weight, mask)] = targets
    assert weight == 1.0
    source = mixed[:, 0].to(torch.uint8)
    assert torch.equal(mixed, mixed[:, :1].expand_as(mixed)), "all channels come from one crop"
    left = torch.arange(target.shape[2]) < target.shape[2] // 2
    ignored = (source == 0) & left
    assert torch.equal(mask, torch.where(ignored, 255, source)), "what is ignored stays ignored"
    foreign = source != torch.arange(5).view(-1, 1, 1)
    assert torch.equal(foreign, foreign[:1].expand_as(foreign)), "one rectangle for the batch"
    rows, columns = foreign[0].any(1), foreign[0].any(0)
    assert torch.equal(foreign[0], rows[:, None] & columns), "a rectangle"


def test_the_rectangle_of_cutmix_has_the_area_that_is_left() -> None:
    images, target = marked(2, 64, 64)
    config, found = setting("cutmix"), []
    for seed in range(300):
        share = np.random.default_rng(seed)
        share.random()
        given = 1 - share.beta(1.0, 1.0)
        _, [(_, mask)] = mix(images, target, config, np.random.default_rng(seed))
        area = float((mask[1] != 1).float().mean())
        assert area <= given + 1e-6, "what lies outside of the crop is cut off"
        found.append(area / given)
    # it lies inside completely where its centre is not near the border
    assert max(found) > 0.95
    assert 0.5 < np.mean(found) < 0.8


@pytest.mark.parametrize("seed", range(20))
def test_mixup_weighs_both_masks_as_it_weighs_the_images(seed: int) -> None:
    images, target = marked()
    mixed, targets = mix(images, target, setting("mixup"), np.random.default_rng(seed))
    (share, own), (rest, other) = targets
    assert share + rest == 1.0
    assert torch.equal(own, target)
    partner = other[:, 0, -1].float()
    assert (partner != torch.arange(5)).all(), "no crop is its own partner"
    assert sorted(partner.tolist()) == [0, 1, 2, 3, 4]
    expected = share * images + rest * partner.view(-1, 1, 1, 1)
    torch.testing.assert_close(mixed, expected.expand_as(mixed))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_the_memory_format_stays_and_the_batch_is_not_changed(name: str) -> None:
    images, target = marked()
    before = images.clone(), target.clone()
    for seed in range(5):
        mixed, targets = mix(images, target, setting(name), np.random.default_rng(seed))
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        assert all(mask.dtype == torch.uint8 and mask.shape == target.shape for _, mask in targets)
    assert torch.equal(images, before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_a_batch_of_one_crop_is_never_mixed(name: str) -> None:
    images, target = marked(1)
    mixed, targets = mix(images, target, setting(name), np.random.default_rng(0))
    assert mixed is images
    assert targets == [(1.0, target)]


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_the_share_of_mixed_batches_is_the_one_asked_for(name: str) -> None:
    images, target = marked(2, 4, 4)
    changed = sum(
        mix(images, target, setting(name, 0.25), np.random.default_rng(k))[0] is not images for k in range(400)
    )
    assert 75 < changed < 125
    assert mix(images, target, setting(name, 0.0), np.random.default_rng(0))[0] is images


def test_none_draws_no_number() -> None:
    images, target = marked()
    rng = np.random.default_rng(0)
    assert mix(images, target, setting("none"), rng)[0] is images
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_equal_draws_give_equal_batches(name: str) -> None:
    images, target = marked()
    runs = [mix(images, target, setting(name), np.random.default_rng(3)) for _ in range(2)]
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1][-1][1], runs[1][1][-1][1])


def test_all_partners_are_drawn() -> None:
    images, target = marked(4)
    draws = [mix(images, target, setting("mixup"), np.random.default_rng(seed))[1][1][1] for seed in range(60)]
    assert {int(other[1, 0, -1]) for other in draws} == {0, 2, 3}
