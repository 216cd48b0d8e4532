"""Which file belongs to which sample: rules on its path below a folder, from suffixes and regular expressions."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from seg_scse.config.schema import DataConfig
from seg_scse.errors import ConfigError

Kind = Literal["image", "mask"]

_FIELDS = {"image": "{band}", "mask": "{class}"}
_NARROWEST = 1_000_000


def same_name(id_: str) -> str:
    """Return the form of an id that is equal for equal names: Unicode writes `é` in two ways (NFC and NFD)."""
    return unicodedata.normalize("NFC", id_)


@dataclass(frozen=True)
class Rule:
    """How the files of one part are recognised: of all images or masks, of one band, or of one class.

    Attributes:
        kind: `image` or `mask`.
        name: the band or class; empty where one file has everything.
        folder: value of data.images or data.masks for this part; may hold `{split}`.
        suffix: end of the stem that such a file has and that is no part of the id.
        expression: the whole stem matches it, and its groups joined by `/` are the id; None without a pattern.
        by_folder: the id is the folder that the file lies in.
    """

    kind: Kind
    name: str
    folder: str
    suffix: str = ""
    expression: re.Pattern[str] | None = None
    by_folder: bool = False

    @property
    def key(self) -> str:
        """Name of the setting that says where the files are."""
        return f"data.{self.kind}s"

    @property
    def narrowness(self) -> int:
        """Of two rules that match one file, the one with the higher number is meant."""
        return _NARROWEST if self.expression else len(self.suffix)

    @property
    def condition(self) -> str:
        """Continuation of `no file` that says what its name must be; empty where any name will do."""
        if self.expression:
            return f" whose path below it matches {self.expression.pattern!r}"
        if self.by_folder:
            return " in a folder named as its image (mask.encoding=objects)"
        return f' whose stem ends with "{self.suffix}"' if self.suffix else ""

    def id_of(self, stem: str) -> str | None:
        """Return the id that a file belongs to, or None where it is none of these files.

        Args:
            stem: its path below the folder without extension, with `/` between the parts.
        """
        if self.expression:
            match = self.expression.fullmatch(stem)
            id_ = "/".join(filter(None, match.groups())) if match else ""
        elif self.by_folder:
            id_ = stem.rpartition("/")[0]
        else:
            id_ = stem.removesuffix(self.suffix) if stem.endswith(self.suffix) else ""
        return None if not id_ or id_.endswith("/") else id_


def rules_of(config: DataConfig, kind: Kind) -> list[Rule]:
    """Return the rule of the image or mask files, or one for each band or each class but the first.

    Raises:
        ConfigError: a pattern is no regular expression or has no group.
    """
    folder, suffix = (config.images, config.image_suffix) if kind == "image" else (config.masks, config.mask_suffix)
    pattern = config.image_pattern if kind == "image" else config.mask_pattern
    field = _FIELDS[kind]
    if field in f"{folder}{suffix}{pattern}":
        names = (config.bands or ()) if kind == "image" else config.classes[1:]
    else:
        names = ("",)
    by_folder = kind == "mask" and config.mask.encoding == "objects" and not (suffix or pattern)
    return [
        Rule(
            kind,
            name,
            folder.replace(field, name),
            suffix.replace(field, name),
            _compiled(f"data.{kind}_pattern", pattern, field, name),
            by_folder,
        )
        for name in names
    ]


def _compiled(key: str, pattern: str | None, field: str, name: str) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        expression = re.compile(pattern.replace(field, re.escape(name)))
    except re.error as error:
        raise ConfigError(f"{key}={pattern!r} is not a regular expression ({error}).") from error
    if expression.groups < 1:
        raise ConfigError(f"{key}={pattern!r} has no group: put the part that is the id in parentheses.")
    return expression
