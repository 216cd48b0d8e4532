import os

import pytest
import torch

from seg_scse.config.schema import TrainerConfig
from seg_scse.errors import ConfigError
from seg_scse.inference.device import choose_device, choose_precision, choose_workers

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(TrainerConfig()) == CPU
    with pytest.raises(ConfigError, match=r"trainer\.device=cuda, but torch sees no CUDA device"):
        choose_device(TrainerConfig(device="cuda"))


def test_precision_is_stated_or_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert choose_precision(TrainerConfig(), CPU) == "fp32"
    assert choose_precision(TrainerConfig(), CUDA) == "bf16"
    assert choose_precision(TrainerConfig(precision="fp16"), CUDA) == "fp16"
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        choose_precision(TrainerConfig(precision="fp16"), CPU)


def test_workers_follow_the_device_and_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert choose_workers(TrainerConfig(), CPU) == 0
    assert choose_workers(TrainerConfig(), CUDA) == 8
    assert choose_workers(TrainerConfig(workers=3), CPU) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_workers(TrainerConfig(), CUDA) == 3
