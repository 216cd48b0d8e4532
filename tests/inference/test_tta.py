import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_scse.inference.tta import IDENTITY, Symmetry

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
