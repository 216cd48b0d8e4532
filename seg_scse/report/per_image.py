"""Read `per_image.csv`: every score of every image."""

from pathlib import Path

from seg_scse.report.reading import FOREGROUND, METRICS, Part, Results, damaged, read_table

_FIXED = ("id", "group", "height", "width", "ignored")

Column = tuple[float | None, ...]


class PerImage(Part):
    """Columns of `per_image.csv` in the order of `ids`.

    `groups` is the independent unit that each image belongs to, empty where the file has none; `sizes` are (height,
    width) in pixels; `columns` are scores under `<metric>_<class>` and `<metric>_foreground`, None = not scored.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    ignored: tuple[int, ...]
    columns: dict[str, Column]

    def column(self, metric: str, name: str = FOREGROUND) -> Column | None:
        """Return the scores of a class or of the foreground; None where the metric was not measured."""
        return self.columns.get(f"{metric}_{name}")

    @property
    def dice(self) -> dict[str, Column]:
        """Dice per class name and of `foreground`."""
        return {key.removeprefix("dice_"): column for key, column in self.columns.items() if key.startswith("dice_")}


def read_per_image(path: Path, results: Results) -> PerImage:
    """Read `per_image.csv` of the evaluation that `results` describes.

    Raises:
        DataError: the file is absent, a column is missing, a cell is no score, or the rows are not the images scored.
    """
    needed = {f"{metric}_{name}" for metric in METRICS for name in (*results.classes, FOREGROUND)}
    rows = read_table(path, {"id", "height", "width", "ignored", *needed})
    if len(rows) != results.images:
        raise damaged(path, f"has {len(rows)} rows, but results.json counts {results.images} images.")
    names = [name for name in (rows[0] if rows else ()) if name not in _FIXED]
    try:
        return PerImage(
            ids=tuple(row["id"] for row in rows),
            groups=tuple(row["group"] for row in rows if "group" in row),
            sizes=tuple((int(row["height"]), int(row["width"])) for row in rows),
            ignored=tuple(int(row["ignored"]) for row in rows),
            columns={name: tuple(_value(row[name], name.startswith(METRICS)) for row in rows) for name in names},
        )
    except ValueError as error:
        raise damaged(path, f"{error}.") from error


def _value(cell: str, is_share: bool) -> float | None:
    if cell == "":
        return None
    value = float(cell)
    if is_share and not 0.0 <= value <= 1.0:  # also refuses nan
        raise ValueError(f"{cell!r} is not a score in [0, 1]")
    if not abs(value) < float("inf"):
        raise ValueError(f"{cell!r} is not a finite number")
    return value
