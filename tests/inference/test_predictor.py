import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_scse.config.loading import override
from seg_scse.config.schema import Config
from seg_scse.data.lazy import Window, Windowed
from seg_scse.data.scaling import Scaled, Scaling
from seg_scse.data.standardize import Standardizer
from seg_scse.inference.predictor import Predictor, as_logits


class Recorder(nn.Module):
    """A translation-equivariant network that remembers the shapes it saw and whether it was training."""

    def __init__(self, classes: int, kernel: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, classes, kernel, padding=kernel // 2)
        self.shapes: list[tuple[int, ...]] = []
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        self.modes.append(self.training)
        return self.conv(x)


def predictor(model: nn.Module, tile: int = 64, overlap: float = 0.25, batch_size: int = 3) -> Predictor:
    standardize = Standardizer([0.4, 0.5, 0.6], [0.2, 0.2, 0.2])
    return Predictor(model, standardize, torch.device("cpu"), "fp32", tile, overlap, batch_size, threshold=0.5)


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (1, 200), (31, 31), (65, 64), (150, 97), (300, 40)])
@pytest.mark.parametrize("classes", [1, 3])
def test_output_has_exactly_the_size_of_the_input(size: tuple[int, int], classes: int) -> None:
    network = predictor(Recorder(classes))
    probabilities = network.probabilities(image(*size))
    assert probabilities.shape == (classes, *size)
    assert network.labels(probabilities).shape == size
    if classes > 1:
        assert torch.allclose(probabilities.sum(0), torch.ones(size), atol=1e-5)


def test_every_tile_has_the_training_size() -> None:
    model = Recorder(1)
    predictor(model).probabilities(image(150, 97))
    assert {shape[2:] for shape in model.shapes} == {(64, 64)}


def test_a_batch_is_full_but_at_the_end_of_a_row_of_tiles() -> None:
    model = Recorder(1)
    predictor(model, batch_size=3).probabilities(image(150, 210))
    assert [shape[0] for shape in model.shapes] == [3, 2] * 3


def test_blended_tiles_equal_the_whole_image_for_a_pointwise_network() -> None:
    model, pixels = Recorder(3), image(150, 97)
    blended = predictor(model).probabilities(pixels)
    whole = Standardizer([0.4, 0.5, 0.6], [0.2, 0.2, 0.2])(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    assert torch.allclose(blended, model.conv(whole)[0].softmax(0), atol=1e-6)


def test_each_row_of_an_image_is_read_once_and_predicted_to_the_bit_as_from_memory() -> None:
    pixels, asked = image(150, 200), []

    class Stored(Windowed):
        shape, dtype = pixels.shape, pixels.dtype

        def __getitem__(self, window: Window) -> np.ndarray:
            asked.append(window[0])
            return pixels[window]

    scaling = Scaling((0.0, 10.0, 20.0), (255.0, 200.0, 90.0))
    network = predictor(Recorder(3, kernel=5))
    by_windows = network.probabilities(Scaled(Stored(), scaling))
    assert asked == [slice(0, 64), slice(64, 107), slice(107, 150)]
    assert torch.equal(by_windows, network.probabilities(scaling.apply(pixels)))


def test_the_border_of_a_tile_counts_less_than_its_neighbour() -> None:
    model, pixels = Recorder(1, kernel=5), image(64, 112)
    whole = Standardizer([0.4, 0.5, 0.6], [0.2, 0.2, 0.2])(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    truth = model.conv(whole)[0].sigmoid()
    # Both place tiles at 0 and 48; only the wide window weighs down the zero padding at the tiles' borders.
    wide, narrow = (predictor(model, overlap=overlap).probabilities(pixels) for overlap in (0.25, 0.0))
    errors = [float((blended - truth).abs()[:, 4:-4, 4:-4].max().detach()) for blended in (wide, narrow)]
    assert errors[0] < 0.5 * errors[1]


def test_a_result_depends_on_no_batch_size() -> None:
    model, pixels = Recorder(2, kernel=3), image(150, 97)
    results = [predictor(model, batch_size=size).probabilities(pixels) for size in (1, 4, 100)]
    assert torch.allclose(results[0], results[1], atol=1e-6)
    assert torch.allclose(results[0], results[2], atol=1e-6)


def test_network_predicts_in_evaluation_mode_and_is_put_back() -> None:
    model = Recorder(1).train()
    model.conv.eval()  # as a frozen normalisation layer is kept in training
    predictor(model).probabilities(image(64, 64))
    assert model.modes == [False]
    assert model.training
    assert not model.conv.training


def test_labels_are_the_largest_probability_or_above_the_threshold() -> None:
    network = predictor(Recorder(1))
    generator = torch.Generator().manual_seed(0)
    many = torch.rand(5, 20, 30, generator=generator)
    assert np.array_equal(network.labels(many), many.argmax(0).numpy())
    one = torch.tensor([[[0.49, 0.5, 0.51]]])
    assert network.labels(one).tolist() == [[0, 0, 1]]


def test_logits_of_probabilities_give_the_probabilities_back() -> None:
    one = torch.tensor([[[0.0, 0.25, 1.0]]])
    assert torch.allclose(as_logits(one).sigmoid(), one, atol=1e-5)
    many = torch.tensor([0.0, 0.25, 0.75])[:, None, None]
    assert torch.allclose(as_logits(many).softmax(0), many, atol=1e-5)


def test_standardizer_maps_bytes_by_channel_and_survives_a_constant_channel() -> None:
    standardize = Standardizer([0.0, 0.5, 1.0], [1.0, 0.5, 0.0])
    output = standardize(torch.tensor([0, 255, 255], dtype=torch.uint8).view(1, 3, 1, 1))
    assert torch.allclose(output.flatten(), torch.tensor([0.0, 1.0, 0.0]))
    assert torch.isfinite(output).all()


def test_the_configuration_says_how_a_network_is_applied() -> None:
    config = override(
        Config(),
        [
            "data.task=multilabel",
            "data.mask.encoding=bands",
            "data.classes=[none, red, green]",
            "trainer.crop=96",
            "evaluation.overlap=0.5",
            "evaluation.batch_size=7",
            "evaluation.threshold=0.3",
            "evaluation.tta=d4",
            "evaluation.scales=[0.75, 1]",
            "evaluation.blend=gaussian",
            "evaluation.margin=8",
        ],
    )
    model, standardize = Recorder(2), Standardizer([0.5], [0.2])
    network = Predictor.from_config(config, model, standardize, torch.device("cpu"), "bf16")
    how = {"multilabel": True, "tta": "d4", "scales": (0.75, 1.0), "blend": "gaussian", "margin": 8}
    assert network == Predictor(model, standardize, torch.device("cpu"), "bf16", 96, 0.5, 7, 0.3, **how)
    plain = Predictor.from_config(Config(), model, standardize, torch.device("cpu"), "fp32")
    assert (plain.multilabel, plain.tta, plain.scales, plain.members) == (False, "none", (1.0,), (plain,))
    assert (plain.blend, plain.margin, plain.fixed) == ("linear", 0, False)


def test_the_labels_of_a_multilabel_network_do_not_compete() -> None:
    model, pixels = Recorder(2), image(64, 64)
    network = Predictor(**{**vars(predictor(model)), "multilabel": True})
    found = network.probabilities(pixels)
    whole = Standardizer([0.4, 0.5, 0.6], [0.2, 0.2, 0.2])(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    assert torch.allclose(found, model.conv(whole)[0].sigmoid(), atol=1e-6)
    assert np.array_equal(network.labels(found), ((found > 0.5) * torch.tensor([1, 2])[:, None, None]).sum(0).numpy())
    assert torch.allclose(as_logits(found, multilabel=True), model.conv(whole)[0], atol=1e-3)
