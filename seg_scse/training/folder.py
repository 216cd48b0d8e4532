"""The folder of a run: which one it is, and whether the configuration is still the one it was started with."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_scse.config.loading import MAY_MOVE
from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError
from seg_scse.files import require_writable


def claim(name: str, out: Path | None) -> tuple[Path, bool]:
    """Return the run folder, which exists and can be written, and whether it was made just now.

    Args:
        name: name of the run, for the folder `runs/<name>`, with a number where that is taken.
        out: the folder to use instead; None chooses.

    Raises:
        WriteError: it cannot be made or written.
    """
    if out is not None:
        created = not out.exists()
        require_writable(out)
        return out, created
    for number in itertools.count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)  # fails for all but one of several runs that start at the same moment
        except FileExistsError:
            continue
        except OSError:
            require_writable(folder)  # says why not
        return folder, True
    raise AssertionError("unreachable")


def refuse_changes(file: Path, then: Config, now: Config, since: str) -> None:
    """Refuse to continue with another configuration than before; where things are may change.

    Args:
        file: the configuration file, for the message.
        then: the configuration so far.
        now: the configuration as it is in the file.
        since: since when it must be the same, such as `the checkpoint was written`.

    Raises:
        ConfigError: naming each changed key with both values.
    """
    before, after = _flat(then.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    keys = [key for key in after if before.get(key) != after[key] and key not in MAY_MOVE]
    changed = [f"{key}: {before.get(key)!r} -> {after[key]!r}" for key in keys]
    if changed:
        raise ConfigError(
            f"{file} was changed since {since} ({'; '.join(changed)}). Undo the change, or start a new run from it."
        )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
