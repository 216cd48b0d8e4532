import numpy as np
import pytest
import torch
from torch import nn

from seg_scse.data.lazy import Window, Windowed
from seg_scse.data.scaling import Scaled, Scaling
from seg_scse.errors import ConfigError
from seg_scse.inference.ensemble import Ensemble
from seg_scse.inference.scoring import score_split
from seg_scse.inference.sources import NetworkSource
from seg_scse.inference.uncertainty import entropy_of

from .drawn import Bright, drawn, predictor


def brighter(by: float, classes: int = 1) -> nn.Module:
    model = Bright(3, classes)
    with torch.no_grad():
        model.blur.bias.fill_(by)
    return model


def test_the_probabilities_of_the_members_are_averaged_and_then_decided() -> None:
    data = drawn(1)
    members = tuple(predictor(brighter(by), tile=tile) for by, tile in ((-1, 32), (0, 48), (3, 64)))
    ensemble, image = Ensemble(members), data.store.image(0)
    each = torch.stack([member.probabilities(image) for member in members])
    found = ensemble.probabilities(image)
    assert torch.allclose(found, each.mean(0), atol=1e-6)
    assert (found - each[0]).abs().max() > 0.1
    assert np.array_equal(ensemble.labels(found), (found[0] > 0.5).numpy())


def test_an_ensemble_scores_as_a_source_does() -> None:
    data = drawn(2)
    ensemble = Ensemble((predictor(brighter(-1)), predictor(brighter(1)))).with_threshold(0.3)
    assert (ensemble.threshold, [member.threshold for member in ensemble.members]) == (0.3, [0.3, 0.3])
    source = NetworkSource(ensemble, data.store)
    found = score_split(
        source, data, [0, 1], {"labels": lambda seen: (seen.labels == (seen.probabilities[0] > 0.3)).all()}
    )
    assert all(found["labels"].values())


def test_of_three_classes_the_mean_decides_and_not_the_vote() -> None:
    votes = [np.log([0.5, 0.4, 0.1]), np.log([0.5, 0.4, 0.1]), np.log([0.1, 0.8, 0.1])]
    members = []
    for vote in votes:
        model = Bright(3, 3)
        with torch.no_grad():
            model.blur.weight.zero_()
            model.blur.bias.copy_(torch.from_numpy(vote))
        members.append(predictor(model))
    ensemble = Ensemble(tuple(members))
    probabilities = ensemble.probabilities(np.zeros((32, 32, 3), np.uint8))
    assert probabilities[:, 0, 0].tolist() == pytest.approx([1.1 / 3, 1.6 / 3, 0.1])
    assert (ensemble.labels(probabilities) == 1).all()


def test_each_member_sees_the_image_in_its_own_scale() -> None:
    pixels = np.random.default_rng(0).uniform(0, 1000, (40, 50, 3)).astype(np.float32)
    scalings = [Scaling((0.0,) * 3, (1000.0,) * 3), Scaling((200.0,) * 3, (700.0,) * 3)]
    members = (predictor(brighter(-1)), predictor(brighter(1)))
    found = Ensemble(members, scalings).probabilities(Scaled(pixels, scalings[0]))
    each = [member.probabilities(scaling.apply(pixels)) for member, scaling in zip(members, scalings, strict=True)]
    assert torch.allclose(found, (each[0] + each[1]) / 2, atol=1e-6)
    assert (each[1] - members[1].probabilities(scalings[0].apply(pixels))).abs().max() > 0.05


def test_an_image_in_the_scale_of_the_first_alone_is_refused() -> None:
    pixels = np.zeros((40, 50, 3), np.float32)
    scalings = [Scaling((0.0,) * 3, (1000.0,) * 3), Scaling((200.0,) * 3, (700.0,) * 3)]
    members = (predictor(brighter(-1)), predictor(brighter(1)))
    with pytest.raises(
        ConfigError, match=r"trained on images in other scales, .* that of the first: give an image file"
    ):
        Ensemble(members, scalings).probabilities(pixels)
    Ensemble(members, [scalings[0], scalings[0]]).probabilities(pixels)


TALL = np.random.default_rng(0).integers(0, 256, (150, 97, 3), np.uint8)


class Stored(Windowed):
    shape, dtype = TALL.shape, TALL.dtype

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __getitem__(self, window: Window) -> np.ndarray:
        self.rows += range(150)[window[0]]
        return TALL[window].copy()


def of_three_sizes() -> Ensemble:
    return Ensemble(tuple(predictor(brighter(by), tile=tile) for by, tile in ((-1, 32), (0, 48), (3, 160))))


def test_strips_are_those_of_the_first_member_and_a_file_is_read_once() -> None:
    ensemble, image = of_three_sizes(), Stored()
    strips = list(ensemble.strips(image, entropy=True))
    assert [strip.rows for strip in strips] == ensemble.strip_rows(150) == ensemble.members[0].strip_rows(150)
    assert sorted(image.rows) == list(range(150))
    each = torch.stack([member.probabilities(TALL) for member in ensemble.members])
    found = torch.cat([strip.probabilities for strip in strips], 1)
    assert torch.allclose(found, each.mean(0), atol=1e-6)
    assert torch.equal(found, ensemble.probabilities(TALL))


def test_a_strip_of_an_ensemble_has_the_same_bits_whichever_strips_are_asked_for() -> None:
    ensemble = of_three_sizes()
    everything = list(ensemble.strips(TALL, entropy=True))
    for first, last in ((0, 1), (1, 3), (2, 3), (4, len(everything))):
        found = list(ensemble.strips(TALL, range(first, last), entropy=True))
        assert [strip.rows for strip in found] == [strip.rows for strip in everything[first:last]]
        for strip, expected in zip(found, everything[first:last], strict=True):
            assert torch.equal(strip.probabilities, expected.probabilities)
            assert torch.equal(strip.entropy, expected.entropy)
    assert list(ensemble.strips(TALL, range(3, 3))) == []


def test_the_entropy_is_the_mean_of_the_members_and_what_is_left_their_disagreement() -> None:
    members = (predictor(brighter(-2)), predictor(brighter(2)))
    (strip,) = Ensemble(members).strips(TALL[:32, :32], entropy=True)
    each = [entropy_of(member.probabilities(TALL[:32, :32])) for member in members]
    assert torch.allclose(strip.entropy, (each[0] + each[1]) / 2, atol=1e-6)
    assert (entropy_of(strip.probabilities) - strip.entropy).min() > 0.05


def test_images_that_fit_into_a_tile_of_each_member_are_batched() -> None:
    ensemble, images = of_three_sizes(), [TALL[:20, :30], TALL[40:72, :5]]
    found = ensemble.batch(images, entropy=True)
    for strip, image in zip(found, images, strict=True):
        assert strip.rows == slice(0, len(image))
        assert torch.allclose(strip.probabilities, ensemble.probabilities(image), atol=1e-6)
        assert strip.entropy.shape == image.shape[:2]
    assert ensemble.batch([]) == []


def test_what_all_members_skip_is_0() -> None:
    ensemble = of_three_sizes()
    strips = list(ensemble.strips(TALL, skip=lambda rows, columns: rows.stop - rows.start < 150))
    each = ensemble.members[2].probabilities(TALL)
    assert torch.allclose(torch.cat([strip.probabilities for strip in strips], 1), each / 3, atol=1e-6)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((predictor(),), "an ensemble of 1: name at least two"),
        ((predictor(), predictor(bands=4)), r"cannot predict together: number of bands = 3, 4\. Name networks"),
        ((predictor(), predictor(multilabel=True)), "multilabel = False, True"),
        ((predictor(), predictor(threshold=0.4)), r"threshold = 0\.5, 0\.4"),
    ],
)
def test_networks_that_do_not_fit_together_are_refused(members: tuple, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ensemble(members)


def test_members_scaled_by_their_training_and_by_their_files_are_refused() -> None:
    with pytest.raises(ConfigError, match="scaling measured over the training images = True, False"):
        Ensemble((predictor(), predictor()), [Scaling((0.0,) * 3, (1.0,) * 3), None])


def test_members_with_other_classes_are_refused_when_they_predict() -> None:
    ensemble = Ensemble((predictor(brighter(0, 3)), predictor(brighter(0, 4))))
    with pytest.raises(ConfigError, match=r"network 2 of the ensemble gives 4 probabilities per pixel, the first 3"):
        ensemble.probabilities(np.zeros((32, 32, 3), np.uint8))
