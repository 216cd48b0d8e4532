"""A data set other than the one a network was trained with, and what it must have in common with that."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_scse.config.loading import load_config, refuse_overrides
from seg_scse.config.schema import Config, DataConfig
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.data.sets.cards import CARD_FILE, known_cards, resolve_card, short_name
from seg_scse.errors import ConfigError, numbered


@dataclass(frozen=True)
class OtherData:
    """A data set by the name it was given, with the configuration it came in; `config.data` has no open card."""

    name: str
    config: Config

    @property
    def data(self) -> DataConfig:
        """Its `data` section."""
        return self.config.data

    def for_network(self, trained: DataConfig, scale: Any) -> PreparedData:  # noqa: ANN401 - as in a checkpoint
        """Prepare it for a network, whose images are scaled as in its training; divided by its own rules.

        Args:
            trained: the `data` section of the checkpoint.
            scale: the scaling that the checkpoint keeps, or None.

        Raises:
            ConfigError: other classes, another number of bands or another task than the network's.
            DataError: with everything that cannot be used.
        """
        require_alike({"the network": trained, self.name: self.data})
        return prepare_data(self.data.model_copy(update={"scale": trained.scale}), scale=scale)


def other_data(source: str, overrides: Sequence[str] = ()) -> OtherData:
    """Read what `--data` names.

    Args:
        source: a configuration file, of which the `data` section counts; or a card, by name or file.
        overrides: `section.key=value` texts, such as `data.root=DIR`.

    Raises:
        ConfigError: neither, or a configuration with problems.
    """
    refuse_overrides(overrides, ("data.", "evaluation."), "With --data only the data and their scoring are described.")
    if source in known_cards() or Path(source).name == CARD_FILE:
        name, config = short_name(source), load_config(None, [f"data.card={source}", *overrides])
    elif Path(source).suffix.lower() in (".yaml", ".yml"):
        config = load_config(Path(source), overrides)
        name = config.name
    else:
        known = ", ".join(sorted(known_cards()))
        raise ConfigError(f"--data {source}: is neither a YAML configuration nor a card. Known cards: {known}.")
    return OtherData(name, config.model_copy(update={"data": resolve_card(config.data)}))


def require_alike(sections: dict[str, DataConfig]) -> None:
    """Refuse data that do not have the same classes in the same order, the same task and as many bands.

    Args:
        sections: by name, for the message.

    Raises:
        ConfigError: naming both values of everything that differs.
    """
    (first, wanted), *others = ((name, _facts(section)) for name, section in sections.items())
    problems = [
        f"{key} of {name}: {found[key]}; of {first}: {wanted[key]}"
        for name, found in others
        for key in wanted
        if found[key] != wanted[key]
    ]
    if problems:
        raise ConfigError(f"these do not belong together:\n{numbered(problems)}")


def _facts(section: DataConfig) -> dict[str, object]:
    return {
        "classes": list(section.classes),
        "task": section.task,
        "number of bands": len(section.band_names),
        "neighbouring slices": section.volume.neighbours,
    }
