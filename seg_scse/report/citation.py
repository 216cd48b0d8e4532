"""One sentence that quotes the headline of an evaluation with everything needed to compare it."""

from seg_scse.report import measured
from seg_scse.report.headings import MEASURES, measure_of
from seg_scse.report.precision import interval_text, level, sample, unit_of, units
from seg_scse.report.reading import Results, visible
from seg_scse.report.wording import POLICIES, foreground


def citation(results: Results) -> str:
    """Say scores with intervals, number of images, averaging, policy and weights."""
    policy = POLICIES[results.protocol.empty]
    return (
        f"On {measured.which_images(results)} (n = {sample(results)}, {measured.resolution(results)}), "
        f"{visible(results.name)} reached a Dice of {_value(results, 'dice_per_image')} and an IoU of "
        f"{_value(results, 'iou_per_image')} averaged per image, and a Dice of {_value(results, 'dice_pooled')} and an "
        f"IoU of {_value(results, 'iou_pooled')} pooled over all pixels{_boundary(results)} "
        f"({_intervals(results)}foreground: {foreground(results)}; a class in neither truth nor prediction of an image "
        f"is {policy}, {measured.empty_pairs(results)} of {measured.foreground_pairs(results)} cases; "
        f"{decision(results)}{_weights(results)})."
    )


def _value(results: Results, key: str) -> str:
    """`0.8512 [0.8312 to 0.8756]`."""
    measure = MEASURES[measure_of(key)]
    interval = interval_text(results.interval(key), measure)
    return measure.text(results.score(key)) + (f" [{interval}]" if interval else "")


def _boundary(results: Results) -> str:
    if results.score("hd95_per_image") is None:
        return ""
    return f", and an HD95 of {_value(results, 'hd95_per_image')} {visible(unit_of(results))} per image"


def _intervals(results: Results) -> str:
    if results.bootstrap is None or results.interval("dice_per_image") is None:
        return ""
    kind = {"bca": "BCa", "percentile": "percentile"}[results.bootstrap.method]
    return f"in brackets: {level(results)} {kind} bootstrap intervals over {units(results)}; "


def decision(results: Results) -> str:
    """`threshold 0.41, chosen on validation images; mean of 4 mirrored copies; `: what else changes the scores."""
    protocol, said = results.protocol, ""
    if protocol.threshold is not None:
        tuned = ", chosen on validation images" if measured.is_tuned(results) else ""
        said = f"threshold {protocol.threshold:g}{tuned}; "
    said += {"flips": "mean of 4 mirrored copies; ", "d4": "mean of 8 copies; "}.get(protocol.tta or "", "")
    if protocol.scales is not None and len(protocol.scales) > 1:
        said += f"mean of {len(protocol.scales)} sizes; "
    if protocol.gates == "mean":
        said += "each gate at its mean over training images; "
    return said


def _weights(results: Results) -> str:
    if results.predictions is not None:
        return "masks read from files"
    if results.members and not results.folds:
        return f"mean of {len(results.members)} networks"
    checkpoint = results.checkpoint
    if checkpoint is None:
        return f"{results.folds} checkpoints" if results.folds else "weights not known"
    which = f"{results.folds} checkpoints" if results.folds else f"checkpoint of epoch {checkpoint.epoch}"
    return f"{which}, SHA-256 {visible(checkpoint.sha256[:12])}"
