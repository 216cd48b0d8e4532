import numpy as np
import pytest
import torch

from seg_scse.attention.simam import SimAM


def drawn(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def reference(x, e_lambda):
    """1 / e of the paper's eq. 5, with the variance over M - 1, in numpy and float64."""
    x = x.double().numpy()
    pixels = tuple(range(2, x.ndim))
    mu = x.mean(pixels, keepdims=True)
    v = x.var(pixels, keepdims=True, ddof=1)
    energy = 4 * (v + e_lambda) / ((x - mu) ** 2 + 2 * v + 2 * e_lambda)
    return x / (1 + np.exp(-1 / energy))


@pytest.mark.parametrize("size", [(7,), (5, 4), (3, 2, 4)])
@pytest.mark.parametrize("e_lambda", [1e-4, 0.5])
def test_the_block_computes_its_equation(size, e_lambda):
    x = drawn(2, 6, *size)
    np.testing.assert_allclose(SimAM(6, e_lambda)(x).numpy(), reference(x, e_lambda), rtol=1e-5, atol=1e-6)


def test_a_hand_computed_2x2_map():
    # mean 1, squares 1, 1, 1, 9, variance 12 / 3 = 4: 1 / e is 1 / 16 + 1 / 2 and 9 / 16 + 1 / 2
    x = torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]]], dtype=torch.float64)
    assert SimAM(1, e_lambda=0.0)(x).flatten().tolist() == pytest.approx([0, 0, 0, 4 * 0.7431680])


def test_gradients_agree_with_finite_differences():
    x = drawn(1, 2, 2, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(SimAM(2, e_lambda=0.1), (x,))


@pytest.mark.parametrize("size", [(1, 1), (3, 3)])
def test_a_map_of_one_pixel_or_one_value_is_scaled_by_a_constant(size):
    x = torch.full((2, 3, *size), 5.0)
    torch.testing.assert_close(SimAM(3)(x), x * torch.sigmoid(torch.tensor(0.5)))


def test_the_variance_of_half_precision_maps_does_not_overflow():
    x = 1000 * drawn(1, 1, 32, 32)  # the squares are beyond float16
    torch.testing.assert_close(SimAM(1)(x.half()).float(), SimAM(1)(x), rtol=4e-3, atol=1.0)


def test_the_block_has_no_parameters():
    assert not list(SimAM(4).parameters())
