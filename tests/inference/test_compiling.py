from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from seg_scse.inference.compiling import compiled

from .drawn import predictor


def test_a_compiled_network_predicts_as_before_and_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # traced, but no C++ is compiled
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()  # of what other tests compiled
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)).train()
    network, image = predictor(model), np.random.default_rng(0).integers(0, 256, (100, 97, 3), np.uint8)
    fast = compiled(network)
    assert torch.allclose(fast.probabilities(image), network.probabilities(image), atol=1e-5)
    small = image[:9, :9]
    assert torch.allclose(fast.batch([small])[0].probabilities, network.probabilities(small), atol=1e-5)
    assert model.training
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
