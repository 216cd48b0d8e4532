"""The convolutions that see the image are found by a run, also where an encoder has several."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seg_scse.models import build_model
from seg_scse.models.bands import adapt_bands, image_weights
from seg_scse.models.transfer import transfer
from seg_scse.models.weights import adapt_colours

from .sources import BINARY, CLASSIC, RGB, answer, image, named, network, source

NAMES = {
    "resnet18": {"encoder.conv1.weight"},
    "tu-resnet10t": {"encoder.model.conv1.0.weight"},
    "mobileone_s0": {"encoder.stage0.rbr_conv.0.conv.weight", "encoder.stage0.rbr_scale.conv.weight"},
    "mit_b0": {"encoder.patch_embed1.proj.weight"},
    "efficientnet-b0": {"encoder._conv_stem.weight"},
    "densenet121": {"encoder.features.conv0.weight"},
}


@pytest.mark.parametrize("encoder", NAMES)
def test_the_convolutions_that_see_the_image_are_found(encoder: str) -> None:
    model = build_model({"encoder": encoder, "decoder_channels": (8, 8, 8, 8, 8)}, in_channels=4)
    assert image_weights(model) == NAMES[encoder]
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.encoder.modules())


def test_the_first_convolution_of_the_classic_unet_alone_sees_the_image() -> None:
    model = build_model(
        {"architecture": "classic_unet", "width": 4, "attention": {"type": "cse", "sites": ["encoder"]}}
    )
    assert image_weights(model) == {"encoder.blocks.0.conv1.0.weight"}


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_bands_without_a_common_name_follow_the_rule_for_colours(count: int) -> None:
    found = torch.rand(5, 3, 3, 3)
    value, how = adapt_bands(found, torch.zeros(5, count, 3, 3), ("red", "green", "blue"), list("abcdef")[:count])
    assert value is not None
    torch.testing.assert_close(value, adapt_colours(found, count))
    assert how.endswith("the sum of the source's 3 filters" if count == 1 else f"in turn, times 3/{count}")


def test_a_convolution_of_another_size_is_not_adapted() -> None:
    value, how = adapt_bands(torch.zeros(5, 3, 3, 3), torch.zeros(5, 4, 7, 7), ("a", "b", "c"), ("a", "b", "c", "d"))
    assert value is None
    assert how == "shape (5, 4, 7, 7), but (5, 3, 3, 3) in the source"


def weight(model: nn.Module) -> Tensor:
    first: Tensor = model.encoder.blocks[0].conv1[0].weight.detach()
    return first


def test_bands_keep_their_filters_by_name_in_any_order_and_new_ones_take_them_in_turn() -> None:
    theirs, given = source(CLASSIC)
    ours = network(CLASSIC, bands=4)
    result = transfer(ours, given, BINARY, ("nir", "blue", "green", "red"))
    expected = torch.stack([0.75 * weight(theirs)[:, 0], *(weight(theirs)[:, k] for k in (2, 1, 0))], 1)
    assert torch.equal(weight(ours), expected)
    how = "filters of blue, green, red kept; nir: the source's filters in turn, times 3/4"
    assert named(result, "adapted") == ["encoder.blocks.0.conv1.0.weight"]
    assert f"encoder        1  adapted  encoder.blocks.0.conv1.0.weight: {how}" in result.table()


@pytest.mark.parametrize(("old", "new"), [(RGB, ("gray",)), (("gray",), RGB), (RGB, tuple("abcdef"))])
def test_a_grey_image_gives_the_same_answer_through_bands_of_other_names(old: Any, new: Any) -> None:
    theirs, given = source(CLASSIC, bands=old)
    ours = network(CLASSIC, bands=len(new))
    transfer(ours, given, BINARY, new)
    grey = image(1)
    expected = answer(theirs, grey.repeat(1, len(old), 1, 1))
    torch.testing.assert_close(answer(ours, grey.repeat(1, len(new), 1, 1)), expected, rtol=1e-4, atol=1e-5)


def test_as_many_bands_without_names_are_taken_as_the_same() -> None:
    theirs, given = source(CLASSIC, bands=None)
    ours = network(CLASSIC)
    transfer(ours, given, BINARY, ("a", "b", "c"))
    assert torch.equal(weight(ours), weight(theirs))


def test_a_network_of_as_many_channels_as_bands_changes_its_first_convolution_alone() -> None:
    _, given = source(CLASSIC, bands=tuple("abcd"))  # width 4: the second convolution has 4 channels too
    result = transfer(network(CLASSIC, bands=4), given, BINARY, tuple("dcba"))
    assert named(result, "adapted") == ["encoder.blocks.0.conv1.0.weight"]
