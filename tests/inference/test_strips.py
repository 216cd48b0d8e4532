import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seg_scse.inference.predictor import Predictor
from seg_scse.inference.strips import Strip, covering, cut
from seg_scse.inference.uncertainty import entropy_of

from .drawn import Bright, predictor


class Near(nn.Module):
    """Two convolutions with zero padding: each output pixel sees two pixels around it."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 3, padding=1, bias=False)
        )
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        return 5 * self.layers(x)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def whole(network: Predictor, pixels: np.ndarray) -> Tensor:
    with torch.inference_mode():
        tile = network.standardize(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        return network.model(tile)[0].softmax(0)


def farthest(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max())


@pytest.mark.parametrize("blend", ["linear", "gaussian"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_tiles_of_a_pointwise_network_blend_to_the_whole_image(blend: str, overlap: float) -> None:
    torch.manual_seed(0)
    network = predictor(nn.Conv2d(3, 3, 1), blend=blend, overlap=overlap)
    pixels = noise(150, 97)
    assert farthest(network.probabilities(pixels), whole(network, pixels)) < 1e-6


@pytest.mark.parametrize("blend", ["linear", "gaussian"])
@pytest.mark.parametrize("size", [(150, 97), (32, 140), (140, 32)])
def test_with_a_margin_no_border_of_a_tile_is_seen(blend: str, size: tuple[int, int]) -> None:
    network, pixels = predictor(Near(), blend=blend, margin=2), noise(*size)
    assert farthest(network.probabilities(pixels), whole(network, pixels)) < 1e-4
    without = predictor(Near(), blend=blend).probabilities(pixels)
    assert farthest(without, whole(network, pixels)) > (1e-3 if blend == "linear" else 1e-4)


def test_strips_are_the_rows_of_the_plan_and_together_the_image() -> None:
    network, pixels = predictor(Near()), noise(150, 97)
    strips = list(network.strips(pixels))
    assert [strip.rows for strip in strips] == network.strip_rows(150)
    assert len(strips) == 6
    assert all(strip.entropy is None for strip in strips)
    assert torch.equal(torch.cat([strip.probabilities for strip in strips], 1), network.probabilities(pixels))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_a_strip_has_the_same_bits_whichever_strips_are_asked_for(overlap: float) -> None:
    network, pixels = predictor(Near(), overlap=overlap), noise(140, 97)
    everything = list(network.strips(pixels, entropy=True))
    for first in range(len(everything)):
        for last in (first + 1, min(first + 3, len(everything))):
            for found, expected in zip(
                network.strips(pixels, range(first, last), entropy=True), everything[first:last], strict=True
            ):
                assert found.rows == expected.rows
                assert torch.equal(found.probabilities, expected.probabilities)
                assert torch.equal(found.entropy, expected.entropy)
    assert list(network.strips(pixels, range(2, 2))) == []


def test_only_rows_of_tiles_that_reach_into_the_strips_are_computed() -> None:
    model = Near()
    network, pixels = predictor(model, batch_size=9), noise(150, 97)
    list(network.strips(pixels, range(3, 5)))
    assert model.batches == [4] * 3, "the one before, of which the first strip has rows, and their own"


class Sizes(TorchDispatchMode):
    """Remembers the largest tensor that is made."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.largest = max(self.largest, found.numel())
        return found


def test_nothing_in_memory_grows_with_the_height() -> None:
    largest = []
    for height in (100, 1000):
        with Sizes() as sizes:
            for strip in predictor(nn.Conv2d(3, 4, 1), batch_size=1).strips(noise(height, 200)):
                assert strip.probabilities.shape[1:] <= (32, 200)
        largest.append(sizes.largest)
    assert largest == [4 * 32 * 200] * 2


def test_a_strip_stays_as_it_is_when_the_next_is_computed() -> None:
    strips = predictor(Near()).strips(noise(150, 97))
    first = next(strips)
    before = first.probabilities.clone()
    list(strips)
    assert torch.equal(first.probabilities, before)


def test_between_strips_the_network_and_torch_are_as_before() -> None:
    model = Near().train()
    for _ in predictor(model).strips(noise(100, 50)):
        assert model.training
        assert not torch.is_inference_mode_enabled()


def test_small_images_go_through_the_network_together() -> None:
    model = Near()
    network = predictor(model, batch_size=4)
    images = [noise(*size, seed) for seed, size in enumerate([(32, 32), (20, 31), (1, 32), (5, 5), (32, 9)])]
    found = network.batch(images, entropy=True)
    assert model.batches == [4, 1]
    for strip, pixels in zip(found, images, strict=True):
        (alone,) = network.strips(pixels, entropy=True)
        assert strip.rows == alone.rows == slice(0, len(pixels))
        assert strip.probabilities.shape[1:] == pixels.shape[:2] == strip.entropy.shape
        assert torch.allclose(strip.probabilities, alone.probabilities, atol=1e-6)
        assert torch.allclose(strip.entropy, alone.entropy, atol=1e-6)
    assert network.batch([]) == []


def test_images_of_bytes_and_of_shares_are_batched_alike() -> None:
    pixels = noise(20, 30)
    shares = pixels.astype(np.float32) / np.float32(255)
    first, second = predictor(Near()).batch([pixels, shares])
    assert torch.equal(first.probabilities, second.probabilities)
    assert torch.allclose(first.probabilities, predictor(Near()).probabilities(pixels), atol=1e-6)


def test_a_batch_that_is_not_full_is_filled_up_where_the_network_takes_one_size() -> None:
    model, pixels = Near(), noise(150, 97)
    network = predictor(model, batch_size=3, fixed=True)
    found = network.probabilities(pixels)
    assert set(model.batches) == {3}
    assert torch.allclose(found, predictor(model).probabilities(pixels), atol=1e-6)


def skipping(places: list[tuple[slice, slice]], kept: tuple[slice, slice]):
    def skip(rows: slice, columns: slice) -> bool:
        places.append((rows, columns))
        overlap = rows.start < kept[0].stop and rows.stop > kept[0].start
        return not (overlap and columns.start < kept[1].stop and columns.stop > kept[1].start)

    return skip


def test_tiles_without_data_are_not_computed_and_are_0() -> None:
    model, pixels, places = Near(), noise(150, 97), []
    kept = slice(60, 90), slice(40, 70)
    network = predictor(model, batch_size=9)
    strips = list(network.strips(pixels, skip=skipping(places, kept)))
    found = torch.cat([strip.probabilities for strip in strips], 1)
    assert all(rows.stop <= 150 and columns.stop <= 97 for rows, columns in places)
    assert len(places) == 6 * 4
    tiles = [place for place in places if not skipping([], kept)(*place)]
    assert sum(model.batches) == len(tiles) + 1, "and one that tells how many classes there are"
    covered = torch.zeros(150, 97, dtype=torch.bool)
    for rows, columns in tiles:
        covered[rows, columns] = True
    assert covered.sum() < 0.7 * covered.numel()
    assert (found[:, ~covered] == 0).all()
    assert torch.allclose(found[:, covered].sum(0), torch.ones(int(covered.sum())), atol=1e-5)
    expected = network.probabilities(pixels)
    assert torch.equal(found[:, kept[0], kept[1]], expected[:, kept[0], kept[1]])


@pytest.mark.parametrize("size", [(20, 30), (32, 100), (100, 20)])
def test_where_nothing_is_skipped_nothing_changes_and_tiles_end_with_the_image(size: tuple[int, int]) -> None:
    network, places = predictor(Near()), []
    asked = [strip.probabilities for strip in network.strips(noise(*size), skip=lambda *place: places.append(place))]
    assert torch.equal(torch.cat(asked, 1), network.probabilities(noise(*size)))
    assert max(rows.stop for rows, _ in places) == size[0]
    assert max(columns.stop for _, columns in places) == size[1]


def test_an_image_of_one_row_of_tiles_is_blended_across_alone() -> None:
    network, pixels = predictor(Near(), batch_size=1), noise(32, 50)
    left, right = (network.probabilities(pixels[:, columns]) for columns in (slice(0, 32), slice(18, 50)))
    found = network.probabilities(pixels)
    assert torch.equal(found[..., 8:18], left[..., 8:18]), "where one tile counts, and fully"
    assert torch.equal(found[..., 32:42], right[..., 14:24])


@pytest.mark.parametrize("size", [(150, 97), (20, 30)])
def test_an_image_without_any_data_is_0(size: tuple[int, int]) -> None:
    strips = list(predictor(Near()).strips(noise(*size), entropy=True, skip=lambda rows, columns: True))
    assert sum(strip.rows.stop - strip.rows.start for strip in strips) == size[0]
    for strip in strips:
        assert strip.probabilities.shape == (3, strip.rows.stop - strip.rows.start, size[1])
        assert (strip.probabilities == 0).all()
        assert (strip.entropy == 0).all()


def test_a_strip_with_skipped_tiles_does_not_depend_on_the_strips_asked_for() -> None:
    network, pixels = predictor(Near()), noise(150, 97)
    skip = skipping([], (slice(60, 90), slice(40, 70)))
    everything = list(network.strips(pixels, skip=skip))
    for number, expected in enumerate(everything):
        (found,) = network.strips(pixels, range(number, number + 1), skip=skip)
        assert torch.equal(found.probabilities, expected.probabilities)


def test_the_entropy_of_one_pass_over_one_tile_is_that_of_its_probabilities() -> None:
    (strip,) = predictor(Near()).strips(noise(30, 32), entropy=True)
    assert torch.equal(strip.entropy, entropy_of(strip.probabilities))
    assert strip.probabilities.shape == (3, 30, 32)


def test_the_entropy_is_blended_and_never_above_that_of_the_mean() -> None:
    network, pixels = predictor(Near(), tta="flips"), noise(100, 70)
    for strip in network.strips(pixels, entropy=True):
        disagreement = entropy_of(strip.probabilities) - strip.entropy
        assert disagreement.min() > -1e-5
        assert disagreement.max() > 1e-3
    single = torch.cat([strip.entropy for strip in predictor(Bright()).strips(pixels, entropy=True)])
    whole_image = predictor(Bright(), tile=128).probabilities(pixels)
    assert torch.allclose(single[40:60, 40:60], entropy_of(whole_image)[40:60, 40:60], atol=0.05)


def planned(rows: list[slice], entropy: bool) -> Iterator[Strip]:
    for part in rows:
        values = torch.arange(part.start, part.stop, dtype=torch.float32)[:, None].expand(-1, 4)
        yield Strip(part, values[None].expand(2, -1, -1), values if entropy else None)


@pytest.mark.parametrize("entropy", [True, False])
@pytest.mark.parametrize("ends", [[10], [3, 4, 10], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [4, 8, 10]])
def test_strips_are_cut_into_others(ends: list[int], entropy: bool) -> None:
    wanted = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
    plan = [slice(0, 4), slice(4, 8), slice(8, 10)]
    found = list(cut(planned(plan, entropy), wanted))
    assert [strip.rows for strip in found] == wanted
    for strip in found:
        assert strip.probabilities[1, :, 0].tolist() == list(range(strip.rows.start, strip.rows.stop))
        assert (strip.entropy is not None) == entropy
        if entropy:
            assert strip.entropy[:, 3].tolist() == list(range(strip.rows.start, strip.rows.stop))


def test_strips_that_were_cut_up_are_let_go() -> None:
    seen = []

    def watched() -> Iterator[Strip]:
        for number in range(4):
            values = torch.zeros(1, 2, 3)
            seen.append(weakref.ref(values))
            yield Strip(slice(2 * number, 2 * number + 2), values)

    parts = cut(watched(), [slice(number, number + 1) for number in range(8)])
    for number, _ in enumerate(parts):
        assert sum(values() is not None for values in seen) <= 2, number


def test_the_strips_that_hold_some_rows_are_found() -> None:
    plan = [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert covering(plan, [slice(4, 6), slice(6, 8)]) == range(1, 2)
    assert covering(plan, [slice(3, 9)]) == range(0, 3)
