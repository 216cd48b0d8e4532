"""What a training step keeps for backward, on the meta device: exact, and nothing is allocated."""

import weakref

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seg_scse.config.attention import AttentionConfig
from seg_scse.config.schema import ModelConfig
from seg_scse.models import build_model


class LiveBytes(TorchDispatchMode):
    """Tracks the storages that operations inside made and that are still alive."""

    def __init__(self):
        super().__init__()
        self.live = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage())._cdata not in self.live:
                self.live[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.live.pop, storage._cdata)
        return results


def kept_for_backward(network):
    """Bytes that the forward pass of 16 images of 512 x 512 in bfloat16 leaves alive."""
    network = network.to("meta", torch.bfloat16).to(memory_format=torch.channels_last).train()
    images = torch.empty(16, 3, 512, 512, dtype=torch.bfloat16, device="meta").to(memory_format=torch.channels_last)
    with LiveBytes() as tracker:
        logits = network(images)
        kept = sum(tracker.live.values())
    assert logits.requires_grad
    return kept


@pytest.fixture(scope="module")
def without():
    return kept_for_backward(build_model(ModelConfig(encoder="resnet34"), 3, 2))


@pytest.fixture(scope="module")
def smps():
    return kept_for_backward(smp.Unet("resnet34", encoder_weights=None, decoder_attention_type="scse"))


def test_smps_gates_keep_a_fifth_more(without, smps):
    assert smps / without == pytest.approx(1.187, abs=0.01)


@pytest.mark.parametrize("merge", ["add", "max"])
def test_our_gates_at_the_same_sites_keep_less_than_smps(without, smps, merge):
    sites = ("decoder_in", "decoder")
    attention = AttentionConfig(type="scse", reduction=16, merge=merge, sites=sites)
    ours = kept_for_backward(build_model(ModelConfig(encoder="resnet34", attention=attention), 3, 2))
    assert ours < smps
    assert ours / without <= 1.19
