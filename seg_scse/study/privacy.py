"""Keeping what names a machine or its user out of files that are made public."""

import getpass
import json
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from seg_scse.errors import DataError

_PART = r"[^\s/\\'\"`,;:()\[\]{}<>|]"
# Not within an address, a relative path or a regular expression.
_ABSOLUTE = re.compile(
    rf"(?<![\w.:/~<>*+?$)\]}}\\-])(?:/(?:{_PART}+/)+{_PART}*|[A-Za-z]:[\\/](?:{_PART}+[\\/])*{_PART}*)"
)


class Cleaner:
    """Replaces paths of this machine.

    The study's folder is left out, so that paths below it start there; the data folder becomes the data set's name; of
    any other absolute path the last part stays.

    Args:
        study: folder of the study.
        places: other folders by path, with the name that stands for each; relative ones are left as they are.
    """

    def __init__(self, study: Path, places: Mapping[str, str]) -> None:
        forms = {form: "" for form in _forms(str(study))}
        for place, name in places.items():
            forms |= dict.fromkeys(_forms(place), name)
        self._forms = sorted(forms.items(), key=lambda form: len(form[0]), reverse=True)

    def text(self, text: str) -> str:
        """Return a text with other paths."""
        for path, name in self._forms:
            for below in (True, False):
                end = "/" if below else r"(?![\w/-])"
                text = re.sub(re.escape(path) + end, _renamed(name, below).replace("\\", r"\\"), text)
        return _ABSOLUTE.sub(_last_part, text)

    def values(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return a JSON value with other paths in all of its texts."""
        return _mapped(value, self.text)


def _forms(path: str) -> set[str]:
    """Return the absolute ways to write a path."""
    place = Path(path).expanduser()
    if not place.is_absolute() and not path.startswith("~"):
        place = place.absolute()
    found = {str(place), str(place.resolve())} | ({path.rstrip("/")} if path.startswith(("/", "~")) else set())
    return {form for form in found if len(form) > 1}


def _renamed(name: str, below: bool) -> str:
    return (f"{name}/" if name else "") if below else (name or ".")


def _last_part(found: re.Match[str]) -> str:
    return re.split(r"[\\/]", found[0].rstrip("/\\"))[-1]


def _mapped(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value


def machine_names() -> list[str]:
    """Return the names of this computer and of its user."""
    host = platform.node()
    names = [host, host.partition(".")[0]]
    with suppress(OSError, KeyError, ImportError):  # a user whom the system does not know
        names.append(getpass.getuser())
    return [name for name in dict.fromkeys(names) if name and name != "localhost"]


def words_of(value: Any) -> set[str]:  # noqa: ANN401 - any JSON value
    """Return the keys in a JSON value, in lower case: a machine that is named like one of them is not recognised."""
    if isinstance(value, Mapping):
        return {str(key).lower() for key in value} | {word for item in value.values() for word in words_of(item)}
    return {word for item in value for word in words_of(item)} if isinstance(value, list) else set()


def require_public(texts: Mapping[str, str], paths: Iterable[Path], names: Sequence[str]) -> None:
    """Refuse texts that name this machine.

    Args:
        texts: by file name.
        paths: folders that none of them may hold.
        names: of the computer and its user, which no file may hold as a word, but for image names in `scores.csv`.

    Raises:
        DataError: names the first file and the value.
    """
    values = sorted({form for path in paths for form in _forms(str(path))}, key=len, reverse=True)
    for file, text in texts.items():
        found = [value for value in values if _has_path(text, value) or _has_path(text, json.dumps(value)[1:-1])]
        found += [name for name in names if file != "scores.csv" and _has_word(text, name)]
        if found:
            raise DataError(
                f"{file} holds `{found[0]}`, which names this machine or its user, and nothing of that kind is "
                "published. Take it out of the study's configuration or names, and publish again."
            )


def _has_path(text: str, path: str) -> bool:
    return re.search(rf"(?<![\w.~*-]){re.escape(path)}(?![\w-])", text) is not None


def _has_word(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE) is not None
