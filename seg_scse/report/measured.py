"""What exactly was measured, in sentences: definition, averaging, policies, numbers, origin, and cautions."""

from seg_scse.report import precision
from seg_scse.report.per_image import PerImage
from seg_scse.report.reading import Results, Surface, visible
from seg_scse.report.wording import POLICIES, count, foreground

Fact = tuple[str, str]

ALL_FILES = "all"
"""Name of the split where two folders of masks are scored against each other."""

_SEEN = {
    "train": "The network was trained on this split: the scores do not tell how it does on new images.",
    "val": "The checkpoint was selected on this split: the scores are optimistic.",
}
_STATED = {"configuration": " (from the configuration)", "option": " (given on the command line)"}
"""Where a threshold comes from, if it was not chosen on validation images."""
_TTA = {
    "flips": "Each tile was predicted in 4 mirrored copies, and their probabilities were averaged.",
    "d4": "Each tile was predicted in 8 mirrored and turned copies, and their probabilities were averaged.",
}

_FROZEN = (
    "Every gate was replaced by its mean over training images, so that none looked at the image that was predicted. "
    "These are not the scores of the network as it was trained."
)


def what_was_measured(results: Results, per_image: PerImage) -> list[Fact]:
    """(term, sentence) pairs that define the scores of the page completely."""
    facts: list[tuple[str, str | None]] = [
        ("Images", _images(results)),
        ("Definition", _definition(results)),
        ("Per image", "The score of each image, averaged over the images: every image weighs the same."),
        ("Pooled", "One score from the pixels of all images counted together: large objects weigh more."),
        ("Foreground", f"Stands for {foreground(results)}."),
        ("Empty masks", _empty_policy(results)),
        ("Decision", decision(results)),
        ("Copies", _copies(results)),
        ("Gates", _FROZEN if results.protocol.gates == "mean" else None),
        ("Tiles", _tiles(results)),
        ("Arithmetic", _arithmetic(results)),
        ("Boundaries", boundaries(results)),
        ("Objects", _objects(results)),
        (
            "Centre lines",
            "clDice compares the centre lines of truth and prediction." if results.protocol.centerline else None,
        ),
        ("Ignored", _ignored(results, per_image)),
        ("Intervals", precision.how_intervals_were_made(results)),
        ("Masks" if results.predictions else "Weights", origin(results)),
    ]
    return [(term, sentence) for term, sentence in facts if sentence]


def cautions(results: Results) -> list[str]:
    """What a reader must know before quoting a score; empty where there is nothing."""
    found = [_FROZEN] if results.protocol.gates == "mean" else []
    if is_other_data(results):
        found.append(
            f"The images{_named(results)} are not of the data set that the network was trained with; whether the two "
            "share images or patients is not checked."
        )
    elif results.split in _SEEN and results.predictions is None:
        found.append(_SEEN[results.split])
    if results.split == "val" and is_tuned(results):
        found.append("The threshold was chosen on this split too.")
    if results.data.same_as_training is False:
        found.append("The images or masks are not those that the network was trained with.")
    if results.score("dice_per_image") is None:
        found.append("No image has a class of the foreground, in truth or prediction: there is nothing to score.")
    if results.units == 1:
        found.append(
            f"{precision.units(results)} alone: no interval can be given, and other images may score otherwise."
        )
    elif results.units < precision.FEW_UNITS:
        found.append(
            f"{precision.units(results)} are few: the intervals are themselves uncertain below {precision.FEW_UNITS}."
        )
    return found


def is_tuned(results: Results) -> bool:
    """Whether the threshold was chosen on validation images."""
    return results.protocol.threshold_from not in (None, *_STATED)


def foreground_pairs(results: Results) -> int:
    """Number of (image, foreground class) pairs."""
    return results.images * len(results.foreground)


def empty_pairs(results: Results) -> int:
    """Number of (image, foreground class) pairs where the class is in neither truth nor prediction."""
    return sum(results.cases[name].empty for name in results.foreground)


def split_name(results: Results) -> str:
    """`test split`; `all files` where two folders of masks were scored."""
    return "all files" if results.split == ALL_FILES else f"{visible(results.split)} split"


def which_images(results: Results) -> str:
    """`the test split`, or what was scored instead of a split."""
    if results.split == ALL_FILES:
        return "the two folders of masks"
    if results.folds:
        return f"the test splits of a cross-validation with {results.folds} folds"
    return f"the {split_name(results)}{_named(results) if results.data.same_as_training is not True else ''}"


def is_other_data(results: Results) -> bool:
    """Whether a network was scored on a data set other than the one it was trained with."""
    return results.predictions is None and results.data.same_as_training is None


def _named(results: Results) -> str:
    return f" of {visible(results.data.name)}" if results.data.name else ""


def origin(results: Results) -> str:
    """Where the scored masks come from: a checkpoint, several networks, or files."""
    if results.predictions is not None:
        return f"Read from the files in {visible(results.predictions)}; how they were made is not known here."
    if results.folds:
        which = visible(results.checkpoint.file) if results.checkpoint else f"{results.folds} checkpoints"
        return (
            f"{which}: each image was scored once, by a network that saw it neither in training nor in the choice of "
            "its checkpoint."
        )
    if results.members:
        names = ", ".join(f"{visible(member.run)} (epoch {member.epoch})" for member in results.members)
        return f"The mean of the probabilities of {len(results.members)} networks: {names}."
    if results.checkpoint is None:
        return "Not known."
    checkpoint = results.checkpoint
    return f"{visible(checkpoint.file)}, from epoch {checkpoint.epoch}, step {checkpoint.step}."


def resolution(results: Results) -> str:
    """`original resolution`."""
    return f"{visible(results.protocol.resolution)} resolution"


def _images(results: Results) -> str:
    independent = ""
    if results.bootstrap is not None and results.bootstrap.groups:
        independent = f" They come from {results.units} independent groups (patients, scenes)."
    return (
        f"{count(results.images, 'image')} of {which_images(results)}, each compared pixel by pixel with its truth "
        f"mask at {resolution(results)}.{independent}"
    )


def _definition(results: Results) -> str:
    kinds = " Each label is scored by itself, present or not." if results.task == "multilabel" else ""
    return (
        "From the numbers of pixels that are found (tp), false (fp) and missed (fn): Dice = 2 tp / (2 tp + fp + fn), "
        f"IoU = tp / (tp + fp + fn), precision = tp / (tp + fp), recall = tp / (tp + fn).{kinds}"
    )


def _empty_policy(results: Results) -> str:
    policy = results.protocol.empty
    unit = "image" if len(results.foreground) == 1 else "image and class pair"
    return (
        "Where a class is in neither truth nor prediction of an image, its score there is undefined and is "
        f"{POLICIES[policy]} (policy “{policy}”); of the foreground this touched {empty_pairs(results)} of "
        f"{count(foreground_pairs(results), unit)}. Where it is in only one of the two, Dice and IoU are 0. "
        "A class found in no image is n/a."
    )


def decision(results: Results) -> str:
    """How probabilities became masks."""
    protocol = results.protocol
    if protocol.threshold is None:
        return "As the files say." if results.predictions else "Each pixel takes its most probable class."
    what = "A label is set" if results.task == "multilabel" else "A pixel is foreground"
    source = _threshold_from(protocol.threshold_from)
    return f"{what} where its predicted probability is above {protocol.threshold:g}{source}."


def _threshold_from(source: str | None) -> str:
    if source is None:
        return ""
    return _STATED.get(source) or f" (chosen on validation images and then frozen: {visible(source)})"


def _copies(results: Results) -> str | None:
    """Over which copies of a tile the probabilities were averaged."""
    protocol = results.protocol
    said = [sentence for kind, sentence in _TTA.items() if kind == protocol.tta]
    if protocol.scales is not None and protocol.scales != (1.0,):
        sizes = ", ".join(f"{scale:g}" for scale in protocol.scales)
        said.append(f"Probabilities are averaged over each tile at {sizes} times its size.")
    return " ".join(said) or None


def _tiles(results: Results) -> str | None:
    side, overlap = results.protocol.tile, results.protocol.overlap
    if side is None or overlap is None:
        return None
    said = (
        f"Images larger than {side} px are predicted in tiles of {side} × {side} px, overlapping by at least "
        f"{100 * overlap:g} %."
    )
    if results.protocol.blend == "gaussian":
        said += " Weights fall from the middle of a tile as a Gaussian."
    if results.protocol.tile_margin:
        said += f" The outer {results.protocol.tile_margin} px of a tile count only where no other tile reaches."
    return said


def _arithmetic(results: Results) -> str | None:
    used = results.protocol.precision
    return None if used is None else f"The network computed in {used}."


def boundaries(results: Results) -> str | None:
    """What distances between boundaries are, and what they are where one is missing; None where none were scored."""
    surface = results.protocol.surface
    if surface is None:
        return None
    pixel = _pixel(surface.spacing, surface.unit)
    missed = sum(results.cases[name].missed for name in results.foreground)
    false = sum(results.cases[name].false for name in results.foreground)
    return (
        f"Distances in {visible(surface.unit)}{pixel}, from each boundary pixel of either mask to the nearest of the "
        "other. HD95: the larger of the two 95th percentiles; ASSD: the mean over both boundaries; NSD: the share "
        f"within {surface.tolerance:g} {visible(surface.unit)}{_below_a_pixel(surface)}; boundary IoU: that of the "
        f"strips along the boundaries. A class in neither mask is left out. Found in only one of them ({missed} "
        f"missed, {false} false), it counts with the diagonal of the image as distance, and 0 for NSD and boundary IoU."
    )


def _below_a_pixel(surface: Surface) -> str:
    """A tolerance that no distance but 0 can keep, as where 2 was meant in pixels and the files say metres."""
    if isinstance(surface.spacing, tuple) and surface.tolerance < min(surface.spacing):
        return " (less than a pixel: only boundaries that coincide count)"
    return ""


def _pixel(spacing: tuple[float, float] | str | None, unit: str) -> str:
    if spacing is None:
        return ""
    if spacing == (1.0, 1.0) and unit == "px":
        return ""
    if isinstance(spacing, str):
        return f", size of a pixel {visible(spacing)}"
    return f", a pixel being {spacing[0]:g} × {spacing[1]:g} {visible(unit)} (height × width)"


def _objects(results: Results) -> str | None:
    if not results.protocol.objects:
        return None
    return (
        "Connected parts (also over corners) are objects; an object is found where its IoU with a true one is above "
        "0.5. PQ is their F1 times the mean IoU of those found."
    )


def _ignored(results: Results, per_image: PerImage) -> str:
    pixels = sum(per_image.ignored)
    found = "none here"
    if pixels:
        found = f"{count(pixels, 'pixel')} in {count(sum(map(bool, per_image.ignored)), 'image')}"
    return f"Pixels with the mask value {results.protocol.ignore_index} are ignored ({found})."
