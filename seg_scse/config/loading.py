"""From YAML files and overrides to a checked `Config`, with all problems reported at once."""

import copy
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from seg_scse.config.attention import Strict
from seg_scse.config.schema import Config
from seg_scse.config.wording import counted
from seg_scse.config.yaml_source import Entry, KeyPath, parse_value, read_entries
from seg_scse.errors import ConfigError, numbered

MAX_BASES = 10
COMMAND_LINE = "command line"
RECIPES = Path(__file__).parent / "recipes"
"""Files of keys that `recipe:` names; they lie below everything that is given."""
MAY_MOVE = (
    *("data.root", "data.images", "data.masks", "data.cache", "data.cache_gb"),
    *("trainer.threads", "trainer.workers"),
)
"""Keys that say where things are, not what they are: free to change when a run is resumed or evaluated."""
MAY_DIFFER = (
    *MAY_MOVE,
    *("trainer.save_every_minutes", "trainer.save_every_steps", "trainer.panel"),
    *("trainer.tensorboard", "trainer.wandb", "trainer.mlflow", "trainer.project"),
)
"""Keys without influence on the weights that training ends with: free to change when a run is resumed."""


def _model_at(path: Iterable[str], root: type[Strict] = Config) -> type[Strict] | None:
    """Return the section model under a key path, or None where the path is no section."""
    model = root
    for key in path:
        field = model.model_fields.get(key)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, Strict)):
            return None
        model = field.annotation
    return model


def _is_section(path: KeyPath) -> bool:
    return _model_at(path) is not None


def _field_at(path: KeyPath) -> FieldInfo | None:
    model = _model_at(path[:-1])
    return model.model_fields.get(path[-1]) if model else None


def _takes_text(path: KeyPath) -> bool:
    """Tell whether a key holds free text, which on the command line needs no quotes, whatever characters it has."""
    field = _field_at(path)
    return field is not None and field.annotation in (str, str | None)


def _with_bases(path: Path, children: tuple[Path, ...] = ()) -> dict[KeyPath, Entry]:
    """Read a file over its `base:`, which is relative to the file."""
    if path.resolve() in children or len(children) >= MAX_BASES:
        chain = " -> ".join(str(child) for child in (*children, path.resolve()))
        raise ConfigError(f"{path}: `base:` goes in a circle or is deeper than {MAX_BASES}: {chain}.")
    entries = read_entries(path, _is_section)
    base = entries.pop(("base",), None)
    if base is None:
        return entries
    if not isinstance(base.value, str):
        raise ConfigError(f"{base.source}: base = {base.value!r} must be the path of one YAML file.")
    return _with_bases(path.parent / base.value, (*children, path.resolve())) | entries


def _parsed(key: str, value: str) -> object:
    if value.lstrip().startswith("#"):  # YAML would read nothing at all
        raise ConfigError(f"{COMMAND_LINE}, {key}: `{value}` is a comment in YAML. Quote it: '{value.strip()}'.")
    return parse_value(value, f"{COMMAND_LINE}, {key}")


def _from_overrides(overrides: Sequence[str]) -> dict[KeyPath, Entry]:
    entries: dict[KeyPath, Entry] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"`{text}` is not an override: write section.key=value, such as trainer.max_epochs=10.")
        path = tuple(key.split("."))
        parsed = value if _takes_text(path) and value != "null" else _parsed(key, value)
        for length in range(1, len(path)):
            if _field_at(path[:length]) is not None and not _is_section(path[:length]):
                whole = ".".join(path[:length])
                raise ConfigError(f"`{key}`: `{whole}` is one value: override it as a whole, {whole}=VALUE.")
        if isinstance(parsed, dict) and (model := _model_at(path)):
            names = ", ".join(f"{key}.{name}" for name in model.model_fields)
            raise ConfigError(f"`{key}` is a section: override its keys one by one ({names}).")
        entries[path] = Entry(parsed, COMMAND_LINE)
    return entries


def _recipe_of(entries: Mapping[KeyPath, Entry]) -> dict[KeyPath, Entry]:
    """Return the keys of the named recipe; none for the default, or for an unknown name, which is refused later."""
    named = entries.get(("recipe",), Entry("default", "defaults")).value
    if named == "default" or named not in get_args(Config.model_fields["recipe"].annotation):
        return {}
    recipe = read_entries(RECIPES / f"{named}.yaml", _is_section)
    return {path: Entry(entry.value, f"recipe {named}") for path, entry in recipe.items()}


def _refuse_idle_recipe(entries: Mapping[KeyPath, Entry]) -> None:
    """Refuse a recipe on the command line where the file, such as that of a run, gives all of its keys otherwise."""
    recipe = _recipe_of(entries)
    if not recipe or entries["recipe",].source != COMMAND_LINE or not recipe.keys() <= entries.keys():
        return
    if any(entries[path].value != recipe[path].value for path in recipe):
        raise ConfigError(
            f"recipe={entries['recipe',].value} would change nothing: each of its keys is given, and a key that is "
            "given wins. Start from a file without them, or change them one by one: docs/recipes.md."
        )


def _nested(entries: Mapping[KeyPath, Entry]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, entry in entries.items():
        place = tree
        for key in path[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ConfigError(
                    f"{entry.source}: `{'.'.join(path)}`: `{key}` holds a value and cannot have keys below."
                )
        place[path[-1]] = copy.copy(entry.value)  # a mapping of a frozen configuration must not change with a copy
    return tree


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean `x`?" for the closest known name, or an empty text."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean `{match[0]}`?" if match else ""


def _explain(error: ErrorDetails, entries: Mapping[KeyPath, Entry]) -> str:
    path = tuple(str(part) for part in error["loc"])
    source = "defaults"
    for length in range(len(path), -1, -1):
        matches = [(key, entry) for key, entry in entries.items() if key[:length] == path[:length]]
        # A rule between keys names them in its text: the place to look is where such a key was given.
        named = [entry for key, entry in matches if f"{key[-1]} " in error["msg"]]
        if named or (matches and length):
            source = max(named or [matches[0][1]], key=lambda entry: entry.source == COMMAND_LINE).source
            break
    return f"{source}: {problem_of(error)}"


def problem_of(error: ErrorDetails, root: type[Strict] = Config, prefix: KeyPath = ()) -> str:
    """Say what is wrong with one value, by key, value, rule and nearest known name.

    Args:
        error: of `ValidationError.errors()`.
        root: the model that was checked: the whole configuration or a section.
        prefix: what to put before the key, such as ("model",).
    """
    path = tuple(str(part) for part in error["loc"])
    key = ".".join((*prefix, *path)) or "configuration"
    if error["type"] == "extra_forbidden":
        model = _model_at(path[:-1], root)
        keys = sorted(model.model_fields) if model else []
        return f"unknown key `{key}`{nearest(path[-1], keys) or '. Known here: ' + ', '.join(keys)}"
    if error["type"] == "value_error":
        return f"{key}: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "model_type":
        names = ", ".join(f"{key}.{name}" for name in getattr(_model_at(path, root), "model_fields", {}))
        return f"{key} = {error['input']!r}: this is a section, set its keys: {names}"
    if error["type"] == "tuple_type":
        return f"{key} = {error['input']!r}: must be a list, such as [{error['input']}]"
    rule = error["msg"].replace("Input should be", "must be")
    known = re.split(", | or ", (error.get("ctx") or {}).get("expected", "").replace("'", ""))
    hint = nearest(str(error["input"]), known)
    return f"{key} = {error['input']!r}: {rule[0].lower()}{rule[1:]}{hint if 'literal' in error['type'] else ''}"


def require_known(name: str, value: object, kind: object) -> None:
    """Refuse a value that is not one of a Literal type's.

    Raises:
        ConfigError: names the value, the nearest known one and all of them.
    """
    known = get_args(kind)
    if value not in known:
        hint = nearest(str(value), known) or "."
        raise ConfigError(f"`{name}`={value!r} is not known{hint} Known: {', '.join(known)}.")


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read, merge and check a configuration.

    A key has the value of the command line, else of the file, else of its `base:`, else of the `recipe:` that any of
    them names, else its default.

    Args:
        path: YAML file, which may name another one under `base:`; its stem is the default of `name`. None starts from
            the defaults.
        overrides: `section.key=value` texts, applied last. A value is YAML.

    Raises:
        ConfigError: with every problem found, its file and line, the allowed range and the nearest known name.
    """
    entries = (_with_bases(path) if path else {}) | _from_overrides(overrides)
    if path:
        entries.setdefault(("name",), Entry(path_name(path), f"{path}"))
    _refuse_idle_recipe(entries)
    return _validate(entries)


def path_name(path: Path) -> str:
    """Return the stem of a path as a name for a run: letters, digits, dot, underscore and hyphen."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).strip("._-") or "experiment"


def override(config: Config, overrides: Sequence[str]) -> Config:
    """Return a checked copy of a configuration with `section.key=value` texts applied.

    Raises:
        ConfigError: as `load_config`.
    """
    return _validate(dict(_entries_of(config, ())) | _from_overrides(overrides))


def refuse_overrides(overrides: Sequence[str], allowed: tuple[str, ...], why: str) -> None:
    """Refuse overrides of other keys than the allowed ones; a name that ends with a dot allows a section.

    Raises:
        ConfigError: names the override, the reason and the allowed keys.
    """
    for text in overrides:
        key = text.partition("=")[0]
        if key not in allowed and not key.startswith(tuple(name for name in allowed if name.endswith("."))):
            names = ", ".join(f"{name}*" if name.endswith(".") else name for name in allowed)
            raise ConfigError(f"`{text}` cannot be changed here. {why} Allowed: {names}.")


def _entries_of(model: Strict, prefix: KeyPath) -> Iterator[tuple[KeyPath, Entry]]:
    """Yield the keys that were set, so that a copy knows defaults from choices as the original does."""
    for name in model.model_fields_set:
        value = getattr(model, name)
        if isinstance(value, Strict):
            yield from _entries_of(value, (*prefix, name))
        else:
            yield (*prefix, name), Entry(value, "given configuration")


def _validate(given: Mapping[KeyPath, Entry]) -> Config:
    # given keys first: where a rule between keys is broken, an error names the place of one of them
    entries = {**given, **{path: entry for path, entry in _recipe_of(given).items() if path not in given}}
    try:
        return Config.model_validate(_nested(entries))
    except ValidationError as error:
        problems = [_explain(details, entries) for details in error.errors()]
        raise ConfigError(f"{counted(len(problems), 'problem')} in the configuration:\n{numbered(problems)}") from error
