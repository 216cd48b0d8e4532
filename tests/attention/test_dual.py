import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from seg_scse.attention.dual import ChannelAttention, PositionAttention

SIZES = [(7,), (5, 4), (3, 2, 4)]
BLOCKS = {
    "position": lambda: PositionAttention(6, reduction=3, min_width=0),
    "wide": lambda: PositionAttention(3, reduction=1, min_width=5),  # more units than channels
    "channel": lambda: ChannelAttention(6),
}
EVERY_BLOCK = pytest.mark.parametrize("name", BLOCKS)


def drawn(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def trained(name):
    """A block whose context counts."""
    torch.manual_seed(3)
    block = BLOCKS[name]()
    torch.nn.init.constant_(block.gamma, 0.7)
    return block


def softmax(scores, axis):
    exponentials = np.exp(scores - scores.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


def reference(block, x):
    """The equations in numpy and float64."""
    w = {name: value.double().numpy() for name, value in block.state_dict().items()}
    x = x.double().numpy()
    u = x.reshape(*x.shape[:2], -1)
    if block.kind == "dual_position":
        query = np.einsum("ncp,hc->nhp", u, w["query.weight"]) + w["query.bias"][:, None]
        key = np.einsum("ncp,hc->nhp", u, w["key.weight"])
        value = np.einsum("ncp,dc->ndp", u, w["value.weight"]) + w["value.bias"][:, None]
        context = np.einsum("nji,nci->ncj", softmax(np.einsum("nhj,nhi->nji", query, key), 2), value)
    else:
        context = np.einsum("nji,nip->njp", softmax(np.einsum("njp,nip->nji", u, u), 2), u)
    return x + w["gamma"] * context.reshape(x.shape)


@EVERY_BLOCK
@pytest.mark.parametrize("size", SIZES)
def test_every_block_computes_its_equation(name, size):
    block = trained(name)
    x = drawn(2, block.channels, *size)
    np.testing.assert_allclose(block(x).detach().numpy(), reference(block, x), rtol=1e-5, atol=1e-5)


@EVERY_BLOCK
def test_gradients_agree_with_finite_differences(name):
    block = trained(name).double()
    x = drawn(1, block.channels, 2, 2, dtype=torch.float64).requires_grad_()
    names = [name for name, _ in block.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *block.parameters()))


@EVERY_BLOCK
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_block_is_the_identity_and_learns_to_be_another(name, dtype):
    block = BLOCKS[name]().to(dtype)
    x = drawn(2, block.channels, 5, 4, dtype=dtype)
    y = block(x)
    assert torch.equal(y, x)
    (y**2).sum().backward()
    assert block.gamma.grad.item() != 0


def test_position_attention_of_a_hand_computed_map():
    block = PositionAttention(1, reduction=1, min_width=0).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(float(parameter.dim() > 1))
        block.gamma.fill_(2.0)
    x = torch.tensor([[[0.0, 1.0]]], dtype=torch.float64)
    # pixel 0 has scores 0, 0 and the context 0.5; pixel 1 has scores 0, 1 and the context sigma(1) = 0.7310586
    assert block(x).flatten().tolist() == pytest.approx([1.0, 1 + 2 * 0.7310586])


def test_channel_attention_of_a_hand_computed_map():
    block = ChannelAttention(2).double()
    torch.nn.init.constant_(block.gamma, 3.0)
    x = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)
    # channel 0 has scores 1, 0 and the context sigma(1) = 0.7310586; channel 1 has scores 0, 0 and the context 0.5
    assert block(x).flatten().tolist() == pytest.approx([1 + 3 * 0.7310586, 3 * 0.5])


def test_position_attention_runs_in_a_fused_kernel_and_keeps_no_scores():
    block, x, saved = trained("position"), drawn(1, 6, 32, 32).requires_grad_(), []

    def pack(tensor):
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        block(x).sum().backward()
    assert max(saved) <= 6 * 1024, "1024 x 1024 scores would be kept"


def test_channel_attention_ignores_autocast():
    block, x = trained("channel"), drawn(1, 6, 32, 32)
    exact = block(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(block(x), exact)
