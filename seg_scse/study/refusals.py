"""What makes no study, found before anything is written."""

from collections.abc import Sequence
from pathlib import Path

from seg_scse import checkpoint
from seg_scse.config.schema import Config
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import ConfigError, numbered
from seg_scse.models import build_model
from seg_scse.study.declaration import FILE
from seg_scse.study.variants import Variant

LOCK = ".lock"
"""The file that a process holds while it writes those of a study."""


def require_buildable(variants: Sequence[Variant], base: Config) -> None:
    """Refuse variants whose network cannot be built, all of them at once, before hours are spent on the others.

    Raises:
        ConfigError: names each variant and what is wrong with it.
    """
    data = resolve_card(base.data)
    problems = []
    for variant in variants:
        try:
            network = variant.config(base).model.without_weights()
            build_model(network, len(data.band_names), len(data.classes), data.task)
        except ConfigError as error:
            problems.append(f"{variant.name}: {error}")
    if problems:
        raise ConfigError(f"these variants cannot be trained:\n{numbered(problems)}")


def require_own_names(names: Sequence[str]) -> None:
    """Refuse names that would share a folder, on file systems that take `Slow` for `slow` too.

    Raises:
        ConfigError: says which, and how to tell them apart.
    """
    folded = [name.casefold() for name in names]
    shared = [name for name in names if folded.count(name.casefold()) > 1]
    if shared:
        raise ConfigError(
            f"{' and '.join(shared)}: each variant and control has a folder of its name, and these would share one. "
            'Give the variant another name: --add "NAME: section.key=value".'
        )


def require_place(folder: Path) -> None:
    """Refuse a folder that holds other things, or lies in a run or in another study.

    Raises:
        ConfigError: says what is there.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file. Choose another --out.")
    if not any((folder / name).exists() for name in (FILE, LOCK)) and folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: holds other files and no study. Choose another --out, or empty it.")
    for parent in folder.absolute().parents:
        what = "a study" if (parent / FILE).exists() else "a run" if (parent / checkpoint.LAST).exists() else ""
        if what:
            raise ConfigError(f"{folder}: lies in {parent}, which is {what}. Choose an --out of its own.")
