"""Cards of public data sets: facts about their files, and the settings that follow from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from seg_scse.config.attention import Strict
from seg_scse.config.schema import DataConfig
from seg_scse.config.yaml_source import parse_value
from seg_scse.data.names import shown
from seg_scse.errors import ConfigError, DataError

CARD_FILE = "card.yaml"
_PLACES = (Path(__file__).parents[2] / "datasets", Path(__file__).parents[1] / "cards")
_MAX_BYTES = 1_000_000
_NOT_IN_A_CARD = {"card", "root", "cache"}
_SECTIONS = ("mask", "split", "exclude")  # merged key by key; a user's other values replace the card's

SplitName = Literal["train", "val", "test"]


class ArchiveFacts(Strict):
    """The archive a data set is handed out as."""

    file: str = Field(pattern=r"^[^/\\]+$", description="file name")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="of the release the card was checked with")
    folder: str = Field("", description="folder inside that holds the data; empty: the top")


class SplitRule(Strict):
    """Where the split of a data set is written: exactly one of these, or none for a random split."""

    lists: dict[SplitName, str] | None = Field(None, description="text files of ids, relative to the card")
    table: str | None = Field(None, description="CSV file with id and split, in the data folder")
    folders: dict[str, SplitName] | None = Field(None, description="names of `{split}` folders, lower case")

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if sum(rule is not None for rule in (self.lists, self.table, self.folders)) > 1:
            raise ValueError("give one of lists, table and folders")
        return self


class PublishedResult(Strict):
    """A number somebody published, for orientation."""

    method: str
    scores: dict[str, float]
    protocol: str
    source: str


class Card(Strict):
    """What is known about one public data set."""

    title: str
    source: str = Field(description="where to get it")
    licence: str
    citation: str
    images: Annotated[int, Field(ge=1)] = Field(description="number of labelled images on which the card was checked")
    checked: str = Field(description="which of these facts were checked, and how")
    layout: Literal["pairs", "object_folders"] = Field(
        description="pairs: folders of images and masks; object_folders: <id>/images/*, <id>/masks/* (one per object)"
    )
    marker: str = Field(description="pattern of a path that is in the data folder, by which it is recognised")
    archive: ArchiveFacts | None = None
    generator: Literal["synthetic_cells"] | None = Field(None, description="drawn by the package itself")
    split: SplitRule = SplitRule()
    defects: tuple[str, ...] = Field((), description="what is wrong with the files")
    results: tuple[PublishedResult, ...] = ()
    data: dict[str, Any] = Field(
        default_factory=dict, description="values of the `data` section where the user sets none"
    )

    @model_validator(mode="after")
    def _data_is_valid(self) -> Self:
        forbidden = _NOT_IN_A_CARD & self.data.keys()
        if forbidden:
            raise ValueError(f"data.{min(forbidden)} is the user's to set")
        DataConfig.model_validate(self.data).require_consistency()
        return self


def known_cards() -> dict[str, Path]:
    """Cards in the repository's `datasets/` folder, or of the installed package: name -> card file."""
    return {path.parent.name: path for place in reversed(_PLACES) for path in sorted(place.glob(f"*/{CARD_FILE}"))}


def card_path(name: str) -> Path:
    """Return the file of a card given by name or path.

    Raises:
        ConfigError: there is none; the known cards are listed.
    """
    known = known_cards()
    if name in known:
        return known[name]
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    raise ConfigError(
        f"data.card={name}: no such card. Known: {', '.join(known) or 'none'}; or the path of a {CARD_FILE}."
    )


def load_card(name: str) -> Card:
    """Read and check a card.

    Args:
        name: name of a folder in `datasets/`, or path of a card file.

    Raises:
        ConfigError: no such card.
        DataError: the file cannot be read or breaks the rules of a card.
    """
    path = card_path(name)
    try:
        text = path.read_bytes()[: _MAX_BYTES + 1]
        if len(text) > _MAX_BYTES:
            raise DataError(f"{shown(path)}: is larger than {_MAX_BYTES} bytes; a card is a short text.")
        return Card.model_validate(parse_value(text.decode("utf-8"), shown(path)))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors())
        raise DataError(f"{shown(path)}: not a valid card: {problems}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown(path)}: cannot be read as a card ({error}).") from error


def _merge(card: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**card, **user}
    for section in _SECTIONS:
        if section in card and section in user:
            merged[section] = {**card[section], **user[section]}
    return merged


def resolve_card(config: DataConfig) -> DataConfig:
    """Fill in the card's values for every field that the user has not set; without a card, return `config`.

    `mask` and `split` are filled key by key; exclusions of card and user are united. A second call changes nothing.

    Raises:
        ConfigError: unknown card, or the combination of card and user values is invalid.
        DataError: the card cannot be read.
    """
    if config.card is None:
        return config
    merged = _merge(load_card(config.card).data, config.model_dump(exclude_unset=True))
    try:
        resolved = DataConfig.model_validate(merged)
        resolved.require_consistency()
        return resolved
    except ValueError as error:
        problems = "; ".join(e["msg"] for e in error.errors()) if isinstance(error, ValidationError) else str(error)
        raise ConfigError(f"data.card={config.card} together with your settings is invalid: {problems}.") from error
