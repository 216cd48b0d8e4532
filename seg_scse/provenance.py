"""What a result was made with: versions, source revision, machine, data."""

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from seg_scse.config.wording import counted

_PACKAGES = (
    "seg-scse",
    "torch",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "numpy",
    "opencv-python-headless",
)


_OPTIONAL = ("onnx", "onnxruntime", "onnxruntime-gpu", "rasterio")
"""Of extras; they are named where they are installed."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    for package in _OPTIONAL:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def now() -> str:
    """Return the UTC time in ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def source_revision() -> dict[str, str | bool] | None:
    """Return commit and cleanness of the checkout the package runs from, None outside one."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)  # noqa: S603
        status = subprocess.run([*command, "status", "--porcelain"], capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.stdout.strip(), "clean": not status.stdout.strip()}


def describe_device(device: torch.device) -> str:
    """Return the name of the processor or GPU that a device stands for."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {counted(torch.get_num_threads(), 'thread')}"


def environment(device: torch.device) -> dict[str, Any]:
    """Return the facts of this process for `run.json`, as plain values."""
    return {
        "created": now(),
        "command": sys.argv,
        "host": platform.node(),
        "system": platform.platform(),
        "device": describe_device(device),
        "threads": torch.get_num_threads(),
        "git": source_revision(),
        "versions": versions(),
    }
