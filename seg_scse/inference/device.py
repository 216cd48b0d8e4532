"""Which processor computes, and in which precision."""

import os

import torch

from seg_scse import distributed
from seg_scse.config.schema import TrainerConfig
from seg_scse.errors import ConfigError


def choose_device(config: TrainerConfig) -> torch.device:
    """Return the device asked for, and set the number of CPU threads.

    Raises:
        ConfigError: CUDA was asked for and there is none.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise ConfigError("trainer.device=cuda, but torch sees no CUDA device. Use trainer.device=auto or cpu.")
    if config.device == "cpu" or not available:
        return torch.device("cpu")
    # TF32 rounds float32 products to 10 bits: right where the precision was left to us, wrong where fp32 was asked for.
    torch.set_float32_matmul_precision("high" if config.precision == "auto" else "highest")
    torch.backends.cudnn.allow_tf32 = config.precision == "auto"
    return torch.device("cuda", distributed.local_rank())


def choose_workers(config: TrainerConfig, device: torch.device) -> int:
    """Return the number of loader processes; by default the cores that each process of a GPU machine has to spare."""
    if config.workers is not None:
        return config.workers
    if device.type == "cpu":
        return 0
    return max(0, min(8, (os.cpu_count() or 1) // distributed.local_world_size() - 1))


def choose_precision(config: TrainerConfig, device: torch.device) -> str:
    """Return `fp32`, `bf16` or `fp16`; `auto` is bf16 on GPUs that compute in it, else fp32.

    Raises:
        ConfigError: fp16 on a CPU, where it is slower than float32 and overflows.
    """
    if config.precision == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if config.precision == "fp16" and device.type == "cpu":
        raise ConfigError("trainer.precision=fp16 needs a GPU. Use bf16 or fp32 on the CPU.")
    return config.precision
