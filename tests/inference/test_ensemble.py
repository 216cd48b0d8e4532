import numpy as np
import pytest
import torch
from torch import nn

from seg_scse.data.scaling import Scaled, Scaling
from seg_scse.errors import ConfigError
from seg_scse.inference.ensemble import Ensemble
from seg_scse.inference.scoring import score_split
from seg_scse.inference.sources import NetworkSource

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
