"""Reading YAML into flat entries that remember the file and line each value came from.

The dialect is the YAML 1.2 core schema, which is what people expect: `1e-4` is a number, `off`, `yes` and `010` are
not a boolean and an octal number. Duplicate keys, aliases and tags are refused; no code can be named.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seg_scse.errors import ConfigError

MAX_BYTES = 1_000_000
"""A configuration larger than this is not one."""

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A configured value and where it was written, such as `configs/a.yaml:12` or `command line`."""

    value: Any
    source: str


class Loader(yaml.SafeLoader):
    """SafeLoader with the implicit types of YAML 1.2."""


Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", list("-+.")),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)

_BARE_COLOUR = re.compile(r"^(?!\s*#).*?[{,:\[]\s*(#[0-9a-fA-F]{6})\b", re.MULTILINE)
"""A colour without quotes, from which on the line is a comment."""

_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "map", "seq")}


def _integer(_: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    # YAML 1.1 reads `010` as 8; here it is ten.
    return int(node.value)


Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def _refuse_unsafe(node: yaml.Node, name: str, seen: set[int]) -> None:
    where = f"{name}:{node.start_mark.line + 1}"
    if id(node) in seen:
        raise ConfigError(f"{where}: aliases (`*name`) are not supported. Write the value again, or use `base:`.")
    seen.add(id(node))
    if node.tag not in _CORE_TAGS:
        raise ConfigError(f"{where}: tag `{node.tag}` is not allowed. A configuration holds plain values only.")
    if isinstance(node, yaml.ScalarNode) and not _may_name_a_file(node.value):
        raise ConfigError(f"{where}: {node.value!r} holds a character that no file name can hold. Write another value.")
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_unsafe(item, name, seen)
    if isinstance(node, yaml.MappingNode):
        keys: dict[str, int] = {}
        for key, item in node.value:
            _refuse_unsafe(key, name, seen)
            _refuse_unsafe(item, name, seen)
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{name}:{line}: a key must be a word or number.")
            if key.value in keys:
                raise ConfigError(
                    f"{name}:{line}: key `{key.value}` is given twice (first in line {keys[key.value]}). Keep one."
                )
            keys[key.value] = line
            _require_blank(node, key, item, f"{name}:{line}")


def _may_name_a_file(text: str) -> bool:
    """Tell whether the system can be given a text; undecodable bytes of a name on the command line come through."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _require_blank(node: yaml.MappingNode, key: yaml.ScalarNode, item: yaml.Node, where: str) -> None:
    """Refuse `{0:1}`, which is the key `0:1` without a value."""
    before, colon, after = key.value.partition(":")
    if node.flow_style and colon and key.style is None and item.value == "":
        raise ConfigError(f"{where}: `{key.value}` lacks a blank after the colon: write `{before}: {after}`.")


def _parse(text: str, name: str) -> tuple[Loader, yaml.Node | None]:
    try:
        loader = Loader(text)  # refuses characters that YAML forbids
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{name}{line}: not valid YAML: {problem}.{_quoting_hint(text)}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deeply for a configuration.") from error
    if node is not None:
        _refuse_unsafe(node, name, set())
    return loader, node


def _quoting_hint(text: str) -> str:
    bare = _BARE_COLOUR.search(text)
    return f" Quote the colours: '{bare[1]}'; without quotes, # begins a comment." if bare else ""


def parse_value(text: str, name: str) -> object:
    """Parse the right side of `key=value` as a YAML value: number, boolean, null, text, `[list]` or `{map}`."""
    loader, node = _parse(text, name)
    return None if node is None else loader.construct_object(node, deep=True)


def read_entries(path: Path, is_section: Callable[[KeyPath], bool]) -> dict[KeyPath, Entry]:
    """Read a YAML file into `{("section", "key"): Entry}`.

    Args:
        path: the file.
        is_section: tells whether the mapping under a key path is a section, whose keys are entries of their own,
            or a value (such as `loss.terms`).

    Raises:
        ConfigError: missing file, not YAML, not a mapping, duplicate key, alias, tag, or larger than 1 MB.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: {size} bytes is too large for a configuration (limit {MAX_BYTES}).")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read as a configuration ({reason}). Check the path.") from error
    loader, node = _parse(text, str(path))
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: the file must hold `key: value` lines, not a list or a single value.")

    def walk(mapping: yaml.MappingNode, prefix: KeyPath) -> Iterator[tuple[KeyPath, Entry]]:
        for key, item in mapping.value:
            here = (*prefix, key.value)
            if isinstance(item, yaml.MappingNode) and is_section(here):
                yield from walk(item, here)
            elif not (is_section(here) and loader.construct_object(item) is None):  # an empty section sets nothing
                source = f"{path}:{key.start_mark.line + 1}"
                yield here, Entry(loader.construct_object(item, deep=True), source)

    return dict(walk(node, ()))
