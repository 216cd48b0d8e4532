"""Import of the blocks of ai-med's squeeze_and_excitation, against references written from the papers' equations."""

import pytest
import torch
from torch import nn

from seg_scse.attention import SCSE
from seg_scse.errors import ConfigError
from seg_scse.models.foreign import load_aimed_block

BLOCK_CURE = "Build the block with the channels, reduction and gates of the weights."


def refusal(function, *args):
    with pytest.raises(ConfigError) as error:
        function(*args)
    return str(error.value)


class ChannelReference(nn.Module):
    """Eq. 2 of Roy et al. 2018 with two biases, under ai-med's names."""

    def __init__(self, channels, reduction=2):
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // reduction)
        self.fc2 = nn.Linear(channels // reduction, channels)

    def forward(self, u):
        return u * self.fc2(self.fc1(u.mean((2, 3))).relu()).sigmoid()[..., None, None]


class SpatialReference(nn.Module):
    """Eq. 3 of Roy et al. 2018 with a bias, under ai-med's names."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, u):
        return u * self.conv(u).sigmoid()


class BothReference(nn.Module):
    """Max-out of Roy et al. 2019: the larger of the two recalibrated maps, under ai-med's names."""

    def __init__(self, channels):
        super().__init__()
        self.cSE, self.sSE = ChannelReference(channels), SpatialReference(channels)

    def forward(self, u):
        return torch.max(self.cSE(u), self.sSE(u))


REFERENCES = {"scse": BothReference, "cse": ChannelReference, "sse": SpatialReference}


def aimed(kind="scse", **options):
    """A reference with large random weights, so that its gates differ, and the block of ours that takes its state."""
    torch.manual_seed(4)
    reference = REFERENCES[kind](8).double()
    with torch.no_grad():
        for value in reference.parameters():
            value.normal_(std=2.0)
    own = {"scse": {"merge": "max"}, "cse": {"spatial": False}, "sse": {"channel": False}}[kind]
    return reference, SCSE(8, **own, **options).double()


def feature_map():
    return torch.randn(2, 8, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", REFERENCES)
def test_a_block_of_aimed_gives_the_same_output_where_its_input_is_not_negative(kind):
    reference, block = aimed(kind)
    load_aimed_block(block, reference.state_dict())
    u = feature_map().relu()
    torch.testing.assert_close(block(u), reference(u), rtol=1e-12, atol=1e-12)


def test_max_out_of_aimed_takes_the_smaller_gate_where_its_input_is_negative():
    reference, block = aimed()
    load_aimed_block(block, reference.state_dict())
    u = feature_map()
    channel, spatial = block.gates(u)
    torch.testing.assert_close(block(u), u * torch.maximum(channel, spatial), rtol=1e-12, atol=1e-12)
    theirs = torch.where(u < 0, u * torch.minimum(channel, spatial), u * torch.maximum(channel, spatial))
    torch.testing.assert_close(reference(u), theirs, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(block(u), reference(u), atol=1e-2)


def test_a_block_with_other_arithmetic_or_shapes_is_refused():
    state = aimed()[0].state_dict()
    source = "ai-med's block has another arithmetic than this block, whose"
    assert refusal(load_aimed_block, SCSE(8), state) == f"{source} merge = 'add' instead of 'max'."
    text = refusal(load_aimed_block, SCSE(8, merge="max", init="identity", gate="hard_sigmoid"), state)
    assert text == f"{source} activation = 'hard_sigmoid' instead of 'sigmoid', gain = 2.0 instead of 1.0."
    text = refusal(load_aimed_block, nn.Linear(8, 8), state)
    assert text == "ai-med's block has another arithmetic than a Linear: use a scse block."
    text = refusal(load_aimed_block, SCSE(8, reduction=4, merge="max"), state)
    assert text == (
        "3 tensors do not fit: `channel.excite.weight` is (8, 4), not (8, 2); `channel.squeeze.bias` is (4,), not (2,);"
        f" `channel.squeeze.weight` is (4, 8), not (2, 8). {BLOCK_CURE}"
    )
    text = refusal(load_aimed_block, SCSE(8, spatial=False), state)
    assert text.startswith("2 tensors do not fit: `spatial.project.bias` (1,) has no place; ")
