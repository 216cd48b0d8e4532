import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_scse.inference.tta import IDENTITY, Symmetry, sides_of

from .drawn import Bright, drawn, predictor


class Lopsided(nn.Module):
    """Brighter to the right and, by another slope, downwards: no symmetry of a square leaves it as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        ramp = torch.linspace(-1, 1, x.shape[3]) + 2 * torch.linspace(-1, 1, x.shape[2])[:, None]
        return x.mean(1, keepdim=True) + ramp


@pytest.mark.parametrize(("kind", "count"), [("none", 1), ("flips", 4), ("d4", 8)])
def test_all_symmetries_of_a_kind_differ_and_the_first_is_the_identity(kind: str, count: int) -> None:
    tile = torch.arange(36.0).view(1, 1, 6, 6)
    seen = {tuple(symmetry.apply(tile).flatten().tolist()) for symmetry in Symmetry.of(kind)}
    assert len(seen) == len(Symmetry.of(kind)) == count
    assert Symmetry.of(kind)[0] == IDENTITY


def test_undoing_a_symmetry_gives_every_pixel_back() -> None:
    tile = torch.rand(2, 3, 8, 8)
    for symmetry in Symmetry.of("d4"):
        assert torch.equal(symmetry.undo(symmetry.apply(tile)), tile), symmetry


def test_flips_mirror_and_d4_also_turns() -> None:
    tile = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    found = {tuple(symmetry.apply(tile).flatten().tolist()) for symmetry in Symmetry.of("flips")}
    assert found == {(1, 2, 3, 4), (2, 1, 4, 3), (3, 4, 1, 2), (4, 3, 2, 1)}
    turned = {tuple(symmetry.apply(tile).flatten().tolist()) for symmetry in Symmetry.of("d4")} - found
    assert turned == {(1, 3, 2, 4), (3, 1, 4, 2), (2, 4, 1, 3), (4, 2, 3, 1)}


@pytest.mark.parametrize("kind", ["flips", "d4"])
def test_an_equivariant_network_predicts_the_same_with_and_without(kind: str) -> None:
    image = drawn(1).store.image(0)
    plain, averaged = (predictor(Bright(), tta=tta).probabilities(image) for tta in ("none", kind))
    assert torch.allclose(plain, averaged, atol=1e-6)
    assert plain.std() > 0.1


def test_the_probabilities_of_other_networks_are_the_mean_over_the_symmetries() -> None:
    tile = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    network = predictor(Lopsided(), tta="d4")
    by_hand = []
    for mirrored in (tile, tile[:, ::-1]):
        for turns in range(4):
            seen = predictor(Lopsided()).probabilities(np.rot90(mirrored, turns).copy())[0].numpy()
            by_hand.append(np.rot90(seen, -turns))
            if mirrored is not tile:
                by_hand[-1] = by_hand[-1][:, ::-1]
    found = network.probabilities(tile)[0].numpy()
    assert np.allclose(found, np.mean(by_hand, axis=0), atol=1e-6)
    assert np.abs(found - by_hand[0]).max() > 0.1


def test_an_image_smaller_than_a_tile_or_of_several_tiles_is_averaged_tile_by_tile() -> None:
    model = Lopsided()
    image = np.zeros((20, 70, 3), np.uint8)
    found = predictor(model, tta="d4", batch_size=8).probabilities(image)
    assert found.shape == (1, 20, 70)
    assert [shape[2:] for shape in model.shapes] == [(32, 32)] * 8
    assert torch.allclose(found[:, :, 0], found[:, :, 69], atol=1e-6), "the mean has no side"


def test_sizes_are_multiples_of_32_and_the_tile_itself_where_it_is_as_large_as_it_is() -> None:
    assert sides_of(256, (0.5, 0.8, 1.0, 1.25)) == [128, 192, 256, 320]
    assert sides_of(100, (1.0, 0.01, 1.3)) == [100, 32, 128]


def test_a_network_sees_each_tile_in_each_size_and_symmetry() -> None:
    model = Lopsided()
    found = predictor(model, tile=64, tta="flips", scales=(0.5, 1.0, 2.0)).probabilities(
        np.zeros((40, 64, 3), np.uint8)
    )
    assert [shape[2:] for shape in model.shapes] == [(32, 32)] * 4 + [(64, 64)] * 4 + [(128, 128)] * 4
    assert found.shape == (1, 40, 64)


def test_sizes_are_averaged_and_a_constant_stays_one() -> None:
    constant = nn.Conv2d(3, 3, 1)
    nn.init.zeros_(constant.weight)
    image = np.random.default_rng(0).integers(0, 256, (80, 64, 3), np.uint8)
    plain, sized = (predictor(constant, scales=scales).probabilities(image) for scales in ((1.0,), (0.5, 1.0, 1.7)))
    assert torch.allclose(plain, sized, atol=1e-6)
    each = [predictor(Bright(), tile=64, scales=(scale,)).probabilities(image) for scale in (0.5, 1.0)]
    together = predictor(Bright(), tile=64, scales=(0.5, 1.0)).probabilities(image)
    assert torch.allclose(together, (each[0] + each[1]) / 2, atol=1e-6)
    assert (each[0] - each[1]).abs().max() > 0.1


def test_a_smaller_tile_is_averaged_and_what_comes_back_is_in_place() -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    image[:64, :64] = 255
    image[64:, np.arange(128) // 2 % 2 == 1] = 255  # stripes: grey in a quarter of their size, in which some are missed
    image = np.roll(image, -1, axis=1)
    pointwise = nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        pointwise.weight.fill_(1)
        pointwise.bias.zero_()
    found = predictor(pointwise, tile=128, scales=(0.25,)).probabilities(image)[0]
    assert found[:50, 10:50].min() > 0.99
    assert found[:50, 80:110].max() < 0.01
    assert (found[80:110, 10:110] - 0.5).abs().max() < 0.2


def test_the_entropy_is_the_mean_over_the_passes() -> None:
    tile = np.zeros((32, 32, 3), np.uint8)
    (strip,) = predictor(Lopsided(), tta="flips").strips(tile, entropy=True)
    (once,) = predictor(Lopsided()).strips(tile, entropy=True)
    mirrored = [once.entropy.flip(axes) for axes in ((), (0,), (1,), (0, 1))]
    assert torch.allclose(strip.entropy, torch.stack(mirrored).mean(0), atol=1e-6)
    assert (strip.entropy - once.entropy).abs().max() > 0.05
