"""Writing a configuration so that it can be read, explained and run again."""

import json
import textwrap
from collections.abc import Iterator, Mapping

import yaml

from seg_scse.config.attention import Strict
from seg_scse.config.schema import Config
from seg_scse.config.yaml_source import Loader


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what our reader (YAML 1.2) or another one (YAML 1.1) would not read as text."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *Loader.yaml_implicit_resolvers.get(first, [])]
    for first in yaml.SafeDumper.yaml_implicit_resolvers.keys() | Loader.yaml_implicit_resolvers.keys()
}


def _inline(value: object) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _lines(model: Strict, reasons: Mapping[str, str], prefix: str) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    for name in type(model).model_fields:
        value, path = getattr(model, name), f"{prefix}{name}"
        if path in reasons:
            for paragraph in reasons[path].splitlines():
                yield from (f"{indent}# {line}" for line in textwrap.wrap(paragraph, 100 - len(indent)))
        if isinstance(value, Strict):
            yield f"{indent}{name}:"
            yield from _lines(value, reasons, f"{path}.")
        else:
            plain = model.model_dump(mode="json", include={name})[name]
            if isinstance(value, dict):  # JSON has no integer keys; YAML does, and mask values need them
                plain = dict(value)
            yield f"{indent}{name}: {_inline(plain)}"


def to_yaml(config: Config, reasons: Mapping[str, str] | None = None, header: str = "") -> str:
    """Return the fully resolved configuration as YAML that `load_config` reads back to an equal object.

    Args:
        config: the configuration.
        reasons: comments by dotted key, written above the key.
        header: comment lines at the top of the file.
    """
    top = [f"# {line}".rstrip() for line in header.splitlines()]
    return "\n".join([*top, *_lines(config, reasons or {}, ""), ""])


def json_schema() -> str:
    """Return the JSON schema of a configuration file, for editors that complete and check YAML."""
    schema = Config.model_json_schema()
    schema["properties"]["base"] = {"type": "string", "description": "another YAML file this one inherits from"}
    return json.dumps(schema, indent=2)
