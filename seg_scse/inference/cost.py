"""What a network costs: parameters, operations, memory and time."""

import resource
import sys
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from seg_scse.inference.predictor import Predictor, autocast, evaluation_mode
from seg_scse.inference.sources import NetworkSource
from seg_scse.inference.tta import Symmetry, sides_of
from seg_scse.models.supervision import PREFIX


def measure_cost(source: NetworkSource) -> dict[str, Any]:
    """Say what the predictions of a network cost, after they were made, in the form of `cost` in results.json.

    Args:
        source: what has predicted; of an ensemble, parameters and operations are the sums over the members.

    Returns:
        `parameters`; `flops_per_tile`: of one tile of `tile` x `tile` pixels, 2 for each multiplication with its
        addition (convolutions and matrix products only, as torch.utils.flop_counter counts them), over all passes of
        test-time augmentation; `peak_memory_bytes`: of the `gpu` what torch had allocated at most, else of the
        `process` what was resident at most, libraries, data and all (`peak_memory_of`); `megapixels_per_second`,
        `images_per_second` and `seconds`: of the clock of the source, in this process, None where it predicted fewer
        than two images. Reading, measuring and writing are not part of it.
    """
    members = source.network.members
    memory, owner = _peak_memory(source.network.device)
    bands = source.store.entries[0].shape[2]
    clock = source.clock
    timed = clock.seconds > 0
    return {
        "parameters": sum(count_parameters(member.model) for member in members),
        "flops_per_tile": sum(count_flops(member, bands) for member in members),
        "tile": members[0].tile,
        "peak_memory_bytes": memory,
        "peak_memory_of": owner,
        "megapixels_per_second": clock.megapixels / clock.seconds if timed else None,
        "images_per_second": clock.images / clock.seconds if timed else None,
        "seconds": clock.seconds if timed else None,
    }


def count_parameters(model: nn.Module) -> int:
    """Count the parameters that a prediction uses; those of deep supervision are for training."""
    return sum(one.numel() for name, one in model.named_parameters() if not name.startswith(f"{PREFIX}."))


def count_flops(predictor: Predictor, bands: int) -> int:
    """Count the operations of one tile, 2 for each multiplication with its addition, by predicting a grey one.

    Args:
        predictor: the network and its tile.
        bands: channels of its images.
    """
    sides = Counter(sides_of(predictor.tile, predictor.scales))
    flops = sum(_flops(predictor, bands, side) * number for side, number in sides.items())
    return flops * len(Symmetry.of(predictor.tta))


def _flops(predictor: Predictor, bands: int, side: int) -> int:
    tile = torch.zeros((1, bands, side, side), dtype=torch.uint8, device=predictor.device)
    with evaluation_mode(predictor.model), autocast(predictor.device, predictor.precision):
        images = predictor.standardize(tile)
        with FlopCounterMode(display=False) as counter:
            predictor.model(images)
    return int(counter.get_total_flops())


def _peak_memory(device: torch.device) -> tuple[int, str]:
    """Bytes at most so far, and of what."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "gpu"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024), "process"  # macOS counts bytes, Linux kilobytes
