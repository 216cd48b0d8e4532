"""Pairs of images and masks: exact by name, with every leftover named."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.signatures import READ, holds_image, is_image
from seg_scse.data.listing.affixes import common_affixes
from seg_scse.data.listing.annotated import LISTED, attach_annotations, is_annotation
from seg_scse.data.listing.claims import Claims, Source, refuse_twins
from seg_scse.data.listing.folders import contents, expand_splits, visible
from seg_scse.data.listing.patterns import Rule, rules_of, same_name
from seg_scse.data.listing.remarks import Remarks
from seg_scse.data.names import shown, some
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

Folders = dict[str | None, Path]

_MOST_NAMED = 20


@dataclass(frozen=True)
class _Named:
    """The files of one id: its name as the file system writes it, and one file per part, if none is missing."""

    id: str
    files: tuple[Path, ...]
    complete: bool = True


def list_pairs(root: Path, config: DataConfig, folder_names: Mapping[str, str], remarks: Remarks) -> list[Sample]:
    """List the samples of image and mask folders, sorted by id; excluded ids are left out on both sides.

    Args:
        root: folder that data.images and data.masks are relative to.
        config: folders, rules for names, exclusions and the mask encoding.
        folder_names: names of `{split}` folders, see `SPLIT_FOLDERS`.
        remarks: problems and notes are added here.

    Raises:
        ConfigError: a pattern is no regular expression.
    """
    images = _located(root, rules_of(config, "image"), folder_names, False, remarks)
    masks = _located(root, rules_of(config, "mask"), folder_names, config.mask.encoding in LISTED, remarks)
    if len({frozenset(folders) for _, folders in (*images, *masks)}) > 1:
        told = [f"{rule.key}={rule.folder} gives {sorted(map(str, folders))}" for rule, folders in (*images, *masks)]
        remarks.problems.append(
            f"the splits of images and masks differ: {'; '.join(dict.fromkeys(told))}. "
            "Use {split} in both or in none, and the same folders."
        )
        return []
    if not images or not masks:
        return []
    samples = []
    for split in images[0][1]:
        sides = [[(rule, folders[split]) for rule, folders in side] for side in (images, masks)]
        samples += _pair(sides[0], sides[1], split, config, remarks)
    return _unique(samples)


def _located(
    root: Path, rules: Sequence[Rule], folder_names: Mapping[str, str], files: bool, remarks: Remarks
) -> list[tuple[Rule, Folders]]:
    """Find the folders of each rule; empty where one is missing, which is a problem."""
    found, problems = [], []
    for rule in rules:
        try:
            found.append((rule, expand_splits(root, rule.folder, rule.key, folder_names, files)))
        except DataError as error:
            problems.append(str(error))
    remarks.problems.extend(dict.fromkeys(problems))
    return [] if problems else found


def _pair(
    images: Sequence[tuple[Rule, Path]],
    masks: Sequence[tuple[Rule, Path]],
    split: str | None,
    config: DataConfig,
    remarks: Remarks,
) -> list[Sample]:
    """Pair the files of one split."""
    place = masks[0][1]
    listed = place if place.is_file() else None
    if config.mask.encoding == "rle" and not listed:
        remarks.problems.append(f"data.masks: {shown(place)} is a folder. With mask.encoding=rle, name the CSV table.")
        return []
    wanted = is_annotation if config.mask.encoding in LISTED else holds_image
    image_sources = [Source(rule, folder) for rule, folder in images]
    mask_sources = [] if listed else [Source(rule, folder, wanted) for rule, folder in masks]
    claims = Claims([*image_sources, *mask_sources], remarks, [listed] if listed else ())

    def is_out(id_: str) -> bool:
        # Samples of an annotation file are left out later, together with their names there.
        return not listed and remarks.out.has(id_, f"{split}/{id_}")

    named = _merge(image_sources, claims, is_out, False, remarks)
    if listed:
        samples = [Sample(n.id, n.files[0], (listed,), split, n.id, n.files[1:]) for n in named.values() if n.files]
        return attach_annotations(samples, listed, images[0][1], config, remarks)
    truths = _merge(mask_sources, claims, is_out, config.mask.encoding == "objects", remarks)
    if named and truths:
        _name_leftovers(named, truths, image_sources[0], mask_sources[0], remarks)
    return [
        Sample(n.id, n.files[0], truths[key].files, split, n.id, n.files[1:])
        for key, n in named.items()
        if n.files and key in truths and truths[key].complete
    ]


def _merge(
    sources: Sequence[Source], claims: Claims, is_out: Callable[[str], bool], many: bool, remarks: Remarks
) -> dict[str, _Named]:
    """Join the parts of each id, one file each unless it may have many; what is missing is a problem."""
    tables: list[dict[str, list[Path]]] = []
    names: dict[str, str] = {}
    for source in sources:
        found = claims.files(source)
        if many and source.rule.by_folder:  # an image without objects has an empty folder
            found = {id_: [] for id_ in claims.empty_folders(source)} | found
        files = {id_: paths for id_, paths in found.items() if not is_out(id_)}
        refuse_twins(source, files, many, remarks)
        names = {same_name(id_): id_ for id_ in files} | names
        tables.append({same_name(id_): paths for id_, paths in files.items()})
    if not any(claims.files(source) for source in sources) and not names:
        _name_nothing(sources[0], claims, remarks)
    for source, table in zip(sources, tables, strict=True):
        _name_missing(source, [names[key] for key in sorted(names.keys() - table.keys())], len(names), remarks)
    return {key: _join(id_, [table.get(key) for table in tables], many) for key, id_ in sorted(names.items())}


def _join(id_: str, parts: Sequence[list[Path] | None], many: bool) -> _Named:
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return _Named(id_, (), False)
    return _Named(id_, tuple(path for part in found for path in sorted(part)[: None if many else 1]))


def _name_nothing(source: Source, claims: Claims, remarks: Remarks) -> None:
    names, key = claims.names(source), source.rule.key
    there = f"; there is {some(names)}" if names else ""
    kind = f"{READ} file" if source.wanted is holds_image else "annotation file"
    remarks.problems.append(f"{key}: no {kind}{source.rule.condition} in {shown(source.folder)}{there}. Correct {key}.")


def _name_missing(source: Source, ids: list[str], total: int, remarks: Remarks) -> None:
    if ids:
        what = f"{'band' if source.rule.kind == 'image' else 'class'} {source.rule.name}"
        remarks.problems.append(
            f"{len(ids)} of {total} samples have no file of {what} in {shown(source.folder)}: "
            f"{some(ids, _MOST_NAMED)}. Add the files, or name the samples in data.exclude."
        )


def _name_leftovers(
    images: Mapping[str, _Named], masks: Mapping[str, _Named], image: Source, mask: Source, remarks: Remarks
) -> None:
    left = {key: named.id for key, named in images.items() if key not in masks}
    lone = {key: named.id for key, named in masks.items() if key not in images}
    all_left = len(left) == len(images)
    affixes = common_affixes(sorted(left.values()), sorted(lone.values()))
    if affixes is not None and _are_plain(image.rule, mask.rule) and (all_left or min(len(left), len(lone)) > 1):
        line = affixes.lines(image.rule.suffix, mask.rule.suffix, some=not all_left)
        remarks.problems.append(
            f"images in {shown(image.folder)} and masks in {shown(mask.folder)} do not pair by name: "
            f"{'all' if all_left else 'all without a partner among the'} {affixes.describe()}. Put `data: {{{line}}}` "
            "into the configuration."
        )
        return
    for ids, source, lack in (
        (left, image, f"mask in {shown(mask.folder)}"),
        (lone, mask, f"image in {shown(image.folder)}"),
    ):
        if ids:
            remarks.problems.append(
                f"images and masks do not pair by name: {len(ids)} of {shown(source.folder)} have no {lack}: "
                f"{some([ids[key] for key in sorted(ids)], _MOST_NAMED)}. Add the files, set the suffixes or patterns "
                "of data, or name the samples in data.exclude."
            )


def _are_plain(*rules: Rule) -> bool:
    """Tell whether suffixes and patterns are free to be set: each rule has all files of its kind, by their names."""
    return not any(rule.name or rule.expression or rule.by_folder for rule in rules)


def _unique(samples: Iterable[Sample]) -> list[Sample]:
    """Sort by id; a name that is in several split folders is told apart by its split."""
    samples = list(samples)
    counts = Counter(sample.id for sample in samples)
    renamed = (replace(s, id=f"{s.split}/{s.id}") if counts[s.id] > 1 else s for s in samples)
    return sorted(renamed, key=lambda sample: sample.id)


def list_object_folders(root: Path, remarks: Remarks) -> list[Sample]:
    """List samples laid out as `<id>/images/<one image>` and `<id>/masks/<one file per object>`.

    Args:
        root: folder of the sample folders.
        remarks: problems and notes are added here: sample folders without exactly one image or without masks.
    """
    samples = []
    for folder in visible(root):
        name = shown(folder.name)
        if not (folder / "images").is_dir() or remarks.out.has(name):
            continue
        images, masks = (
            [path for path in contents(folder / part).files if is_image(path)] if (folder / part).is_dir() else []
            for part in ("images", "masks")
        )
        if len(images) == 1 and masks:
            samples.append(Sample(name, images[0], tuple(masks), None, name))
        else:
            remarks.problems.append(
                f"{name}: {len(images)} images and {len(masks)} masks; one image and at least one mask are needed"
            )
    return samples
