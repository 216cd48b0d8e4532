"""Segmentation networks with squeeze-and-excitation attention, trained and scored from a config file."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("seg-scse")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
