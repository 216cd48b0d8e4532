"""Looking into a network while it predicts one tile: gates, feature maps around them, and class activation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seg_scse.attention import probe
from seg_scse.attention.trace import undisturbed
from seg_scse.data.files.raster import Array
from seg_scse.inference.predictor import Predictor, autocast

Map = NDArray[np.float32]
Labels = NDArray[np.uint8]

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in pixels, and how it was chosen: `whole`, `component` or `centre`."""

    y: int
    x: int
    height: int
    width: int
    chosen: str

    def of(self, pixels: Array) -> Array:
        """Cut the rectangle out of (H, W) or (H, W, C) pixels."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]


def choose_window(prediction: Labels, side: int) -> Window:
    """Choose the tile to look at: around the largest connected foreground component of the prediction, else the centre.

    Args:
        prediction: (H, W) class indices; all foreground classes count as one, neighbours touch by edge or corner.
        side: side of the tile; an image that is smaller along an axis is taken whole along it.
    """
    height, width = prediction.shape
    size = min(side, height), min(side, width)
    if size == (height, width):
        return Window(0, 0, height, width, "whole")
    _, _, boxes, centres = cv2.connectedComponentsWithStats((prediction > 0).astype(np.uint8), connectivity=8)
    areas = boxes[1:, cv2.CC_STAT_AREA]  # component 0 is the background
    x, y = centres[1 + int(areas.argmax())] if len(areas) else ((width - 1) / 2, (height - 1) / 2)
    starts = [
        int(np.clip(round(centre + 0.5 - length / 2), 0, full - length))
        for centre, length, full in zip((y, x), size, (height, width), strict=True)
    ]
    return Window(starts[0], starts[1], *size, "component" if len(areas) else "centre")


@dataclass(frozen=True)
class Stage:
    """What one gate did to one tile. Maps cover the cells that lie in the image, without the padding of small images.

    Attributes:
        cells: (h, w) of the feature map of the whole tile.
        before: (h', w') mean over the channels of the absolute feature map.
        after: the same behind the gate.
        channel: (C,) channel gates, or None.
        spatial: (h', w') spatial gate, or None.
    """

    cells: tuple[int, int]
    before: Map
    after: Map
    channel: Map | None
    spatial: Map | None


@dataclass(frozen=True)
class Observation:
    """One tile of an image, its predicted class indices, and its stages by the name of their site."""

    window: Window
    prediction: Labels
    stages: Mapping[str, Stage]
    network_input: Tensor


def observe(predictor: Predictor, image: Array) -> Observation:
    """Predict an image, then its chosen tile by itself, and record what the gates did there.

    Args:
        predictor: a network with gates.
        image: uint8, or float32 in [0, 1], (H, W, C).
    """
    # The gates of the last pass are recorded: not those of a mirrored tile, or of one of another size.
    predictor = replace(predictor, tta="none", scales=(1.0,))
    side = predictor.tile
    window = Window(0, 0, image.shape[0], image.shape[1], "whole")
    if max(image.shape[:2]) > side:
        window = choose_window(predictor.labels(predictor.probabilities(image)), side)
    inputs: list[Tensor] = []
    handle = predictor.model.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    try:
        with probe.record(predictor.model) as recordings:
            prediction = predictor.labels(predictor.probabilities(window.of(image)))
    finally:
        handle.remove()
    stages = {name: _stage(recording, window, side) for name, recording in recordings.items()}
    return Observation(window, prediction, stages, inputs[0])


def _stage(recording: probe.Recording, window: Window, side: int) -> Stage:
    def strength(x: Tensor) -> Map:
        return _inside(x[0].float().abs().mean(0), window, side)

    gates = recording.gates
    channel = gates.channel if gates else None
    spatial = gates.spatial if gates else None
    return Stage(
        cells=(recording.x.shape[2], recording.x.shape[3]),
        before=strength(recording.x),
        after=strength(recording.y),
        channel=None if channel is None else channel[0].float().flatten().cpu().numpy(),
        spatial=None if spatial is None else _inside(spatial[0, 0].float(), window, side),
    )


def _inside(cells: Tensor, window: Window, side: int) -> Map:
    """Drop the cells of a tile's map (h, w) that see padding only."""
    rows = -(-window.height * cells.shape[0] // side)
    columns = -(-window.width * cells.shape[1] // side)
    return cells[:rows, :columns].cpu().numpy()


def class_activation(predictor: Predictor, seen: Observation, label: int) -> dict[str, Map]:
    """Seg-Grad-CAM of each stage's map before its gate: where the stage's features speak for a class.

    L = relu(sum_k a_k A_k), a_k = mean over the cells of d(sum of the class's logits over M) / d A_k. Grad-CAM:
    Selvaraju et al., ICCV 2017, arXiv 1610.02391; the sum over a set M of pixels: Vinogradova et al., AAAI 2020,
    arXiv 2002.11434. M is here the pixels predicted as the class, or the whole tile where there are none.

    Args:
        predictor: the network that was observed.
        seen: the observation of a tile.
        label: a foreground class.

    Returns:
        By site, a map like `Stage.before`, scaled to a largest value of 1; all 0 where nothing speaks for the class.
    """
    maps: dict[str, Tensor] = {}
    gates = probe.gates_by_site(predictor.model)
    handles = [gate.register_forward_pre_hook(partial(_note, maps, site)) for site, gate in gates.items()]
    try:
        with undisturbed(predictor.model), torch.enable_grad(), autocast(predictor.device, predictor.precision):
            logits = predictor.model(seen.network_input.clone())  # made in inference mode, which autograd refuses
        chosen = logits[0, 0 if logits.shape[1] == 1 else label].float()
        gradients = torch.autograd.grad(chosen[_region(seen, label, chosen)].sum(), list(maps.values()))
    finally:
        for handle in handles:
            handle.remove()
    activations = map(_weighted, maps.values(), gradients)
    cut = (_inside(activation, seen.window, predictor.tile) for activation in activations)
    return {name: activation / max(float(activation.max()), TINY) for name, activation in zip(maps, cut, strict=True)}


def _note(maps: dict[str, Tensor], name: str, _gate: nn.Module, args: tuple[Any, ...]) -> None:
    maps[name] = args[0]


def _region(seen: Observation, label: int, like: Tensor) -> Tensor:
    """Pixels (H, W) of the tile that were predicted as the class; all where there are none."""
    region = torch.zeros_like(like, dtype=torch.bool)
    height, width = seen.prediction.shape
    region[:height, :width] = torch.from_numpy(seen.prediction == label).to(like.device)
    return region if region.any() else torch.ones_like(region)


def _weighted(x: Tensor, gradient: Tensor) -> Tensor:
    """Sum the channels of x (1, C, h, w), weighted by their mean gradient, and keep what is positive."""
    weights = gradient.float().mean((2, 3), keepdim=True)
    return (weights * x.detach().float()).sum(1)[0].relu()
