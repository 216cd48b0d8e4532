"""Cards of public data sets: facts about their files, and the settings that follow from them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from seg_scse.config.attention import Strict
from seg_scse.config.masks import Colour
from seg_scse.config.schema import DataConfig
from seg_scse.config.yaml_source import parse_value
from seg_scse.data.names import shown
from seg_scse.errors import ConfigError, DataError

CARD_FILE = "card.yaml"
_PLACES = (Path(__file__).parents[3] / "datasets", Path(__file__).parents[2] / "cards")
_MAX_BYTES = 1_000_000
_NOT_IN_A_CARD = {"card", "root", "cache"}
_SECTIONS = ("mask", "split", "exclude")  # merged key by key; a user's other values replace the card's

SplitName = Literal["train", "val", "test"]


def _inside(path: str) -> str:
    """Refuse a path or pattern that leads out of the folder it belongs to; a card may come from anybody."""
    parts = path.replace("\\", "/").split("/")
    if path.startswith(("/", "\\", "~")) or ".." in parts or "\0" in path or re.match(r"[A-Za-z]:", path):
        raise ValueError(f"{path!r} leads out of the folder: give a path below it, without `..`")
    return path


Inside = Annotated[str, AfterValidator(_inside)]
"""A path, or a pattern of paths, below a folder."""


class Archive(Strict):
    """One archive that a data set is handed out as; some data sets have several, which belong into one folder."""

    file: str = Field(pattern=r"^[^/\\]+$", description="file name")
    url: str | None = Field(
        None, pattern=r"^https?://", description="direct link; null where a person must register or accept terms first"
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="of the release the card describes")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$", description="as published; `checked` says by whom")
    bytes: Annotated[int, Field(ge=1)] | None = Field(None, description="size of the file")
    folder: Inside = Field("", description="folder inside that holds the data; empty: the top")
    nested: tuple[Inside, ...] = Field((), description="patterns of archives inside it, unpacked where they lie")
    part: str = Field("all", description="what is in it, such as images, masks, or images and masks of one split")


class SplitRule(Strict):
    """Where the split of a data set is written: at most one of these; none for a random split by `data.split`."""

    lists: dict[SplitName, Inside] | None = Field(None, description="text files of ids, relative to the card")
    root_lists: dict[SplitName, Inside] | None = Field(None, description="text files of ids, in the data folder")
    line: str | None = Field(
        None, description="root_lists: regular expression on a line; its groups joined by / are the id"
    )
    table: Inside | None = Field(None, description="CSV file with id and split, in the data folder")
    patterns: dict[SplitName, str] | None = Field(
        None, description="regular expressions on the whole id; the first that matches gives the split"
    )
    folders: dict[str, SplitName] | None = Field(None, description="names of `{split}` folders, lower case")

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = (self.lists, self.root_lists, self.table, self.patterns, self.folders)
        if sum(rule is not None for rule in rules) > 1:
            raise ValueError("give one of lists, root_lists, table, patterns and folders")
        if self.line is not None and self.root_lists is None:
            raise ValueError("line says how to read root_lists: give both")
        for expression in (self.line, *(self.patterns or {}).values()):
            try:
                re.compile(expression or "")
            except re.error as error:
                raise ValueError(f"{expression!r} is not a regular expression ({error})") from error
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
    licence: str = Field(description="name of the licence, or `unclear` with what is known")
    terms: str = Field("", description="what the owners allow or forbid beyond the licence's name")
    registration: str | None = Field(None, description="what a person must do by hand before the files can be fetched")
    citation: str
    images: Annotated[int, Field(ge=1)] = Field(
        description="number of labelled images (or volumes); `checked` says whether they were counted or read about"
    )
    checked: str = Field(description="which of these facts were checked, and how; all others are from documentation")
    layout: Literal["pairs", "object_folders"] = Field(
        description="pairs: folders of images and masks; object_folders: <id>/images/*, <id>/masks/* (one per object)"
    )
    marker: Inside = Field(description="pattern of a path that is in the data folder, by which it is recognised")
    also: tuple[Inside, ...] = Field((), description="further folders below data.root in which the data folder may be")
    archives: tuple[Archive, ...] = Field((), description="empty: single files, or drawn; `steps` says what to do")
    steps: tuple[str, ...] = Field((), description="what is to be done by hand, in order")
    made: Inside | None = Field(None, description="pattern of a path that the steps make out of the unpacked archives")
    generator: Literal["synthetic_cells"] | None = Field(None, description="drawn by the package itself")
    split: SplitRule = SplitRule()
    grouping: str | None = Field(None, description="why data.split.group keeps samples together, or why none can")
    colours: dict[str, Colour] = Field(default_factory=dict, description="class name -> colour in reports")
    defects: tuple[str, ...] = Field((), description="what is wrong with the files")
    results: tuple[PublishedResult, ...] = ()
    data: dict[str, Any] = Field(
        default_factory=dict, description="values of the `data` section where the user sets none"
    )

    @property
    def downloadable(self) -> bool:
        """Whether every archive has a direct link."""
        return bool(self.archives) and all(archive.url for archive in self.archives)

    @property
    def access(self) -> str:
        """How the data are to be had, in a few words."""
        if self.generator:
            return "drawn"
        if self.downloadable:
            return "download, then by hand" if self.steps else "download"
        return "by hand (register)" if self.registration else "by hand"

    @property
    def licence_brief(self) -> str:
        """The licence for a line that may be cut: a doubt comes first."""
        if "confirmed" not in self.licence or self.licence.startswith("unclear"):
            return self.licence
        return f"unconfirmed: {re.split(r'[(;]', self.licence.removeprefix('said to be '))[0].rstrip()}"

    @model_validator(mode="after")
    def _data_is_valid(self) -> Self:
        forbidden = _NOT_IN_A_CARD & self.data.keys()
        if forbidden:
            raise ValueError(f"data.{min(forbidden)} is the user's to set")
        config = DataConfig.model_validate(self.data)
        config.require_consistency()
        for name, path in {"images": config.images, "masks": config.masks, "split.file": config.split.file}.items():
            try:
                _inside(path or "")
            except ValueError as error:
                raise ValueError(f"data.{name}: {error}") from error
        if self.colours and tuple(self.colours) != config.classes:
            raise ValueError(f"colours names {list(self.colours)}, but the classes are {list(config.classes)}")
        if self.made is not None and not self.steps:
            raise ValueError("made is what the steps make: say in steps how")
        if config.split.group is not None and self.grouping is None:
            raise ValueError("grouping must say why data.split.group keeps samples together")
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


def short_name(name: str) -> str:
    """Return the name of a card's folder, for a card given by name or path.

    Raises:
        ConfigError: there is no such card.
    """
    path = card_path(name)
    return path.parent.resolve().name if path.name == CARD_FILE else path.stem


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
