"""Typed configuration: schema, loading, overrides and printing."""

from seg_scse.config.loading import load_config
from seg_scse.config.printing import json_schema, to_yaml
from seg_scse.config.schema import Config

__all__ = ["Config", "json_schema", "load_config", "to_yaml"]
