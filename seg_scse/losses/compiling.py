"""Compiling a loss."""

import torch

from seg_scse.errors import ConfigError
from seg_scse.losses.segmentation import SegmentationLoss


def compile_loss(loss: SegmentationLoss) -> SegmentationLoss:
    """Compile what a loss computes in training, in place.

    Compilation happens at the first batch of each shape and takes seconds; training crops have one shape, or one per
    level with deep supervision. Where no gradient is wanted, as in validation on whole images of any size, nothing is
    compiled.

    Args:
        loss: on its device.

    Returns:
        `loss`.

    Raises:
        ConfigError: the loss is on a CPU, where compilation needs a C++ compiler, and there is none.
    """
    if loss.pixel_weights.device.type == "cpu":
        _require_compiler()
    loss.training_terms = torch.compile(loss.terms, dynamic=False)
    return loss


def _require_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ConfigError(
            "trainer.compile: on a CPU torch.compile needs a C++ compiler, and none was found. Install one (g++), name "
            "it in the environment variable CXX, or set trainer.compile=none."
        ) from error
