"""Samples whose masks are in one annotation file: which of its images is which file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from seg_scse.config.schema import DataConfig
from seg_scse.config.wording import counted
from seg_scse.data.files.signatures import ANNOTATION_SUFFIXES
from seg_scse.data.listing.claims import stem_below
from seg_scse.data.listing.patterns import same_name
from seg_scse.data.listing.remarks import Remarks
from seg_scse.data.masks.polygons import annotated_names, is_geojson
from seg_scse.data.masks.run_lengths import listed_ids
from seg_scse.data.names import shown, some
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

LISTED = ("polygons", "rle")
"""Mask encodings whose masks may be in one file for all images."""

_MOST_NAMED = 20


def is_annotation(path: Path) -> bool:
    """Tell by its name whether a file may hold the polygons of one image."""
    return path.suffix.lower() in ANNOTATION_SUFFIXES


def attach_annotations(
    samples: Sequence[Sample], path: Path, folder: Path, config: DataConfig, remarks: Remarks
) -> list[Sample]:
    """Give each sample the name that its image has in the annotation file, and leave excluded samples out.

    The name may be the path below the folder, the file name or the id; names with other folders in front count by
    their last part where that is unique.

    Args:
        samples: with `path` as their mask.
        path: the annotation file.
        folder: folder of the images.
        config: the mask encoding.
        remarks: images that the file does not name and names without a file are added to its problems.
    """
    out, problems = remarks.out, remarks.problems
    try:
        listed = _listed(path, config)
    except DataError as error:
        problems.append(str(error))
        return []
    if listed is None:
        return [sample for sample in samples if not out.has(sample.id)]
    names = _Names(listed)
    labels = {sample.id: names.of(sample, folder) for sample in samples}
    kept = [sample for sample in samples if not out.has(sample.id)]
    used = set(labels.values())
    unused = [
        name for name in names if name not in used and not out.has(name, str(PurePosixPath(name).with_suffix("")))
    ]
    lost = [sample.id for sample in kept if labels[sample.id] is None]
    problems.extend(_leftovers(lost, [shown(name) for name in unused], shown(path), shown(folder)))
    problems.extend(_shared(kept, labels, shown(path)))
    return [replace(sample, label=labels[sample.id]) for sample in kept if labels[sample.id] is not None]


def _leftovers(lost: list[str], unused: list[str], where: str, folder: str) -> Iterator[str]:
    if lost:
        yield (
            f"{counted(len(lost), 'image', 'are')} in {folder} but not in {where}: {some(lost, _MOST_NAMED)}. List "
            f"them there (those without objects too), or name them in data.exclude."
        )
    if unused:
        yield (
            f"{counted(len(unused), 'image', 'are')} in {where} without a file in {folder}: {some(unused, _MOST_NAMED)}"
            f". Add them, or name them in data.exclude."
        )


def _listed(path: Path, config: DataConfig) -> Iterable[str] | None:
    """Return the names of the images in an annotation file; None for GeoJSON, which lies on the map instead."""
    if config.mask.encoding == "rle":
        return listed_ids(path, config.mask.columns)
    return None if is_geojson(path) else annotated_names(path)


def _shared(samples: Iterable[Sample], labels: Mapping[str, str | None], where: str) -> list[str]:
    """Name annotations that several images would take."""
    counts = Counter(label for sample in samples if (label := labels[sample.id]) is not None)
    doubles = [shown(label) for label, count in sorted(counts.items()) if count > 1]
    if not doubles:
        return []
    means = counted(len(doubles), "name", "mean")
    return [f"{means} more than one image in {where}: {some(doubles)}. Write the whole path there."]


class _Names:
    """The names of images in an annotation file, found by any form of a file's name."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {same_name(name): name for name in names}
        self._last: dict[str, list[str]] = {}
        for key, name in self._names.items():
            self._last.setdefault(key.replace("\\", "/").rpartition("/")[2], []).append(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def of(self, sample: Sample, folder: Path) -> str | None:
        """Return the name of a sample's image, or None."""
        below = shown(sample.image.relative_to(folder).as_posix())
        last = below.rpartition("/")[2]
        for form in (below, last, sample.id, stem_below(sample.image, folder)):
            if same_name(form) in self._names:
                return self._names[same_name(form)]
        longer = self._last.get(same_name(last), [])
        return longer[0] if len(longer) == 1 else None
