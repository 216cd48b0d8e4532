"""Configuration of what mask files mean."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, field_validator

from seg_scse.config.attention import Strict
from seg_scse.config.numbers import NaturalInt

Task = Literal["multiclass", "multilabel"]
"""multiclass: a pixel has one class; multilabel: any number of those after the first."""

IGNORE_INDEX = 255
"""Mask value of pixels that are in no loss and no score."""

MOST_LABELS = 7
"""Labels of a multilabel task: one bit each of a byte whose value 255 means ignore."""

Encoding = Literal["index", "palette", "binary", "objects", "colours", "files", "bands", "polygons", "rle"]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]

APPLIES: dict[str, frozenset[str]] = {
    "index": frozenset({"values", "offset", "ignore", "nodata"}),
    "palette": frozenset({"values", "offset", "ignore", "nodata"}),
    "binary": frozenset({"threshold", "ignore", "nodata"}),
    "objects": frozenset({"threshold", "nodata"}),
    "colours": frozenset({"colours", "nodata"}),
    "files": frozenset({"threshold", "overlap", "nodata"}),
    "bands": frozenset({"threshold", "overlap", "nodata"}),
    "polygons": frozenset({"labels", "overlap", "field"}),
    "rle": frozenset({"labels", "overlap", "columns"}),
}
"""Fields that mean something for each encoding; others must keep their defaults."""


class RunLengthColumns(Strict):
    """Names of the columns of a table of run lengths."""

    id: str = Field("ImageId", description="column with the image's id, or its file name")
    rle: str = Field("EncodedPixels", description="column with `start length start length ...`; empty: no object")
    label: str | None = Field(None, description="column with the class name; null: every row is class 1")


class MaskConfig(Strict):
    """How mask files encode classes. Nothing is guessed: a value outside the declaration is refused."""

    encoding: Encoding = Field(
        "index",
        description="index: pixel value = class; palette: palette index = class; binary: above `threshold` = class 1; "
        "objects: one file per object, their union = class 1; colours: RGB colour = class; files: one file per class "
        "(`{class}` in the mask's folder, suffix or pattern); bands: one band per class; polygons: COCO JSON or "
        "GeoJSON; rle: CSV table of run lengths",
    )
    values: dict[int, NaturalInt] | None = Field(
        None,
        description="map from the value found in the file to the class index (255 = ignore), for index and palette",
    )
    offset: Annotated[StrictInt, Field(ge=-255, le=255)] = Field(
        0, description="index and palette: added to the values in the file, such as -1 where classes are counted from 1"
    )
    ignore: tuple[NaturalInt, ...] = Field((), description="values in the file that mean ignore, before the offset")
    threshold: Annotated[StrictInt, Field(ge=0, le=65534)] = Field(
        127, description="binary, objects, files and bands: pixel values above this are foreground"
    )
    nodata: Literal["refuse", "ignore", "value"] = Field(
        "refuse",
        description="pixels with the no-data value that a mask file declares: ignore them, or take it as any value",
    )
    colours: dict[Colour, NaturalInt] | None = Field(
        None, description="colours: map from `#rrggbb` to the class index (255 = ignore)"
    )
    labels: dict[str, NaturalInt] | None = Field(
        None, description="polygons and rle: map from the name in the file to the class index; null: data.classes"
    )
    field: str | None = Field(None, description="polygons: property of a GeoJSON feature that names its class")
    columns: RunLengthColumns = RunLengthColumns()
    overlap: Literal["refuse", "last"] = Field(
        "refuse", description="a pixel in two classes: refuse it, or take the one that comes last in data.classes"
    )

    @field_validator("colours", mode="before")
    @classmethod
    def _lower_case(cls, given: Any) -> Any:  # noqa: ANN401 - whatever the user wrote
        """Take `#FF0000` for `#ff0000`; both at once are refused."""
        if not isinstance(given, dict):
            return given
        lowered = {key.lower() if isinstance(key, str) else key: target for key, target in given.items()}
        if len(lowered) < len(given):
            raise ValueError("a colour is given twice, in upper and in lower case: keep one")
        return lowered

    @field_validator("labels", mode="before")
    @classmethod
    def _numbers_are_names(cls, given: Any) -> Any:  # noqa: ANN401 - whatever the user wrote
        """Take the number 1, which is what YAML reads, for the name "1"."""
        if not isinstance(given, dict):
            return given
        named = {str(key) if type(key) is int else key: target for key, target in given.items()}
        if len(named) < len(given):
            raise ValueError("a label is given twice, as a number and as a text: keep one")
        return named

    def require_meaning(self) -> None:
        """Refuse a field that the encoding would ignore; with a card the encoding is known only after merging.

        Raises:
            ValueError: naming the field and where it belongs.
        """
        for name, field in type(self).model_fields.items():
            if name == "encoding" or name in APPLIES[self.encoding] or getattr(self, name) == field.default:
                continue
            allowed = ", ".join(encoding for encoding, names in APPLIES.items() if name in names)
            raise ValueError(f"mask.{name} has no meaning for encoding = {self.encoding}: it belongs to {allowed}")
        if self.encoding == "colours" and not self.colours:
            raise ValueError("mask.encoding = colours needs mask.colours, such as {'#000000': 0, '#ff0000': 1}")
        if self.values is not None and (self.offset or self.ignore):
            raise ValueError("mask.values says it all: leave offset and ignore out, and map ignored values to 255")
        if self.threshold > 254 and self.encoding not in ("bands", "binary"):
            raise ValueError(f"mask.threshold = {self.threshold}: {self.encoding} masks have 8 bits; at most 254")

    @property
    def targets(self) -> set[int]:
        """Class indices that the declared maps name, without ignore."""
        maps = (self.values, self.colours, self.labels)
        return {target for declared in maps for target in (declared or {}).values()} - {IGNORE_INDEX}
