"""ONNX networks of smaller numbers: float16 and int8."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from seg_scse.inference.onnx_backend import INPUT

QUANTISED = ("Conv", "ConvTranspose", "MatMul")
"""What takes the time. Gates, sums and normalisation stay in float32: that costs little and saves Dice."""


class Half(nn.Module):
    """A network that computes in float16 and answers in float32, without autocast.

    Gates keep computing their scores and sums in float32 (`seg_scse.attention`).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, images: Tensor) -> Tensor:
        """Map float32 images to float32 logits."""
        logits: Tensor = self.network(images.half())
        return logits.float()


class _Tiles:
    """Hands tiles to the calibration, one after the other."""

    def __init__(self, tiles: Sequence[Tensor]) -> None:
        self._tiles = iter(tiles)

    def get_next(self) -> dict[str, Any] | None:
        """Return the input for the next run, None after the last; named by onnxruntime."""
        tile = next(self._tiles, None)
        return None if tile is None else {INPUT: tile.numpy()}


def as_int8(proto: Any, tiles: Sequence[Tensor]) -> Any:  # noqa: ANN401 - onnx has no types
    """Quantise the convolutions of a network to int8, by the ranges of their inputs on some tiles.

    Static and per channel, as pairs of QuantizeLinear and DequantizeLinear that every runtime fuses as it can.

    Args:
        proto: an `onnx.ModelProto` in float32.
        tiles: standardised (1, C, H, W) float32 each, contiguous.

    Returns:
        an `onnx.ModelProto` with the same inputs and outputs in float32.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet(), TemporaryDirectory() as folder:
        whole, fused, small = (Path(folder) / f"{name}.onnx" for name in ("whole", "fused", "small"))
        onnx.save(proto, whole)
        # Folds normalisation layers into convolutions, so that there is one rounding for both.
        quant_pre_process(str(whole), str(fused), skip_symbolic_shape=True)
        quantize_static(
            str(fused),
            str(small),
            _Tiles(tiles),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            reduce_range=True,  # 7 bits of weights: with 8, sums overflow on processors without VNNI
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(small)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the advice of onnxruntime's quantisation away: what it is about is done."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
