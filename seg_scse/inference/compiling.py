"""Networks that are compiled before they predict."""

from dataclasses import replace
from typing import cast

import torch
from torch import nn

from seg_scse.inference.predictor import Predictor


def compiled(predictor: Predictor) -> Predictor:
    """Return a predictor whose network is compiled when it first predicts, by torch.compile.

    It is compiled for batches of one size, which are always full: what is missing at the end of a row of tiles is
    filled up. Of each size of `evaluation.scales` there is one program. Results are those of the network except for
    rounding.

    Args:
        predictor: the network and how it is applied. Its modules are shared.
    """
    return replace(predictor, model=cast(nn.Module, torch.compile(predictor.model, dynamic=False)), fixed=True)
