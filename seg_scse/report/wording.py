"""Plain words for what was measured; shared by the page and the terminal."""

from seg_scse.report.explained import Explanation, GateName
from seg_scse.report.reading import PerImage, Results, visible

POLICIES = {
    "exclude": "left out of the mean",
    "one": "counted as 1",
    "zero": "counted as 0",
}
_SEEN = {
    "train": "The network was trained on this split: the scores do not tell how it does on new images.",
    "val": "The checkpoint was selected on this split: the scores are optimistic.",
}


def grouped(number: int) -> str:
    """`12 345`: thousands apart by narrow no-break spaces."""
    return f"{number:,}".replace(",", "\u202f")


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{grouped(number)} {noun}{'' if number == 1 else 's'}"


def score(value: float | None) -> str:
    """Four decimals, or n/a."""
    return "n/a" if value is None else f"{value:.4f}"


def foreground_pairs(results: Results) -> int:
    """Number of (image, foreground class) pairs."""
    return results.images * len(results.foreground)


def empty_pairs(results: Results) -> int:
    """Number of (image, foreground class) pairs where the class is in neither truth nor prediction."""
    return sum(results.cases[name].empty for name in results.foreground)


def foreground(results: Results) -> str:
    """What `foreground` stands for."""
    if len(results.foreground) == 1:
        return f"the class {visible(results.foreground[0])}"
    return f"the mean over the {len(results.foreground)} classes other than {visible(results.classes[0])}"


def what_was_measured(results: Results, per_image: PerImage) -> list[tuple[str, str]]:
    """(term, sentence) pairs that define the scores of the page completely."""
    definition = [
        (
            "Images",
            f"{count(results.images, 'image')} of {_which_images(results)}, each compared pixel by pixel with its "
            f"truth mask at {_resolution(results)}.",
        ),
        ("Per image", "The score of each image, averaged over the images: every image weighs the same."),
        ("Pooled", "One score from the pixels of all images counted together: large objects weigh more."),
        ("Foreground", f"Stands for {foreground(results)}."),
        ("Empty masks", _empty_policy(results)),
        ("Decision", _decision(results)),
        ("Tiles", _tiles(results)),
        ("Precision", f"The network computed in {results.protocol.precision}."),
        ("Ignored", _ignored(results, per_image)),
        ("Weights", _weights(results)),
    ]
    if not results.data.same_as_training:
        definition.append(("Caution", "The images or masks are not those that the network was trained with."))
    if results.split in _SEEN:
        definition.append(("Caution", _SEEN[results.split]))
    return definition


def _which_images(results: Results) -> str:
    if results.folds:
        return f"the test splits of a cross-validation with {results.folds} folds"
    return f"the {visible(results.split)} split"


def _weights(results: Results) -> str:
    checkpoint = results.checkpoint
    if results.folds:
        return (
            f"{visible(checkpoint.file)}: each image was scored once, by a network that saw it neither in training nor "
            "in the choice of its checkpoint."
        )
    return f"{visible(checkpoint.file)}, from epoch {checkpoint.epoch}, step {checkpoint.step}."


def _resolution(results: Results) -> str:
    return f"{visible(results.protocol.resolution)} resolution"


def _empty_policy(results: Results) -> str:
    policy = results.protocol.empty
    unit = "image" if len(results.foreground) == 1 else "image and class pair"
    return (
        "Where a class is in neither truth nor prediction of an image, its score there is undefined and is "
        f"{POLICIES[policy]} (policy “{policy}”); of the foreground this touched {empty_pairs(results)} of "
        f"{count(foreground_pairs(results), unit)}. Where it is in only one of the two, Dice and IoU are 0. "
        "A class found in no image is n/a."
    )


def _decision(results: Results) -> str:
    threshold = results.protocol.threshold
    if threshold is None:
        return "Each pixel takes its most probable class."
    return f"A pixel is foreground where its predicted probability is above {threshold:g}."


def _tiles(results: Results) -> str:
    side, overlap = results.protocol.tile, results.protocol.overlap
    return (
        f"Images larger than {side} px are predicted in tiles of {side} × {side} px, overlapping by at least "
        f"{overlap:.0%}."
    )


def _ignored(results: Results, per_image: PerImage) -> str:
    pixels = sum(per_image.ignored)
    found = "none here"
    if pixels:
        found = f"{count(pixels, 'pixel')} in {count(sum(map(bool, per_image.ignored)), 'image')}"
    return f"Pixels with the mask value {results.protocol.ignore_index} are ignored ({found})."


def citation(results: Results) -> str:
    """One sentence that quotes the headline with everything needed to compare it."""
    value = {key: score(scores["foreground"]) for key, scores in results.scores.items()}
    policy = POLICIES[results.protocol.empty]
    return (
        f"On {_which_images(results)} (n = {results.images} images, {_resolution(results)}), "
        f"{visible(results.name)} reached a Dice of {value['dice_per_image']} and an IoU of {value['iou_per_image']} "
        f"averaged per image, and a Dice of {value['dice_pooled']} and an IoU of {value['iou_pooled']} pooled over all "
        f"pixels (foreground: {foreground(results)}; a class in neither truth nor prediction of an image is {policy}, "
        f"{empty_pairs(results)} of {foreground_pairs(results)} cases; {_cited_weights(results)})."
    )


def _cited_weights(results: Results) -> str:
    checkpoint = results.checkpoint
    which = f"{results.folds} checkpoints" if results.folds else f"checkpoint of epoch {checkpoint.epoch}"
    return f"{which}, SHA-256 {visible(checkpoint.sha256[:12])}"


def what_was_studied(explanation: Explanation) -> list[tuple[str, str]]:
    """(term, sentence) pairs on the tiles behind the statistics of the gates."""
    study = explanation.study
    if study is None:
        return [("Studied", "No images of the split were studied: there are pictures only, and no statistics.")]
    weights = f"{visible(explanation.checkpoint.file)}, epoch {explanation.checkpoint.epoch}"
    sizes = ", ".join(f"{visible(group.name)} {group.images}" for group in study.groups)
    return [
        (
            "Studied",
            f"{count(study.images, 'image')} of the {visible(explanation.split)} split, weights {weights}; one tile of "
            f"at most {explanation.tile} px a side each, around the largest predicted object of larger images.",
        ),
        ("Groups", f"Tiles are divided by {visible(study.rule)} ({sizes})."),
    ]


def how_to_read_gates(explanation: Explanation) -> list[tuple[str, str]]:
    """(term, sentence) pairs that define the columns of the table of gates."""
    study = explanation.study
    if study is None:
        return []
    chance = study.eta_squared_by_chance
    undefined = max((stage.auroc["foreground"].undefined for stage in study.stages.values() if stage.auroc), default=0)
    return [
        ("Saturated", "Share of gate values in the lowest and the highest hundredth of their range."),
        (
            "AUROC",
            "Probability that a foreground place has a larger spatial gate than a background place, mean over the "
            "images: 0.5 says nothing, near 1 the gate marks the foreground, near 0 the background. "
            f"Tiles with only one of the two are left out (at most {undefined} at a stage).",
        ),
        (
            "η²",
            "Share of the variance of a channel's gate that lies between the groups, mean over the channels"
            f"{'.' if chance is None else f'; groups without any difference would give {chance:.2f} on average.'}",
        ),
        ("Caution", "These are observations. Whether a gate matters for the result, only an intervention can tell."),
    ]


def noticed(explanation: Explanation) -> list[str]:
    """One sentence for each flag of a gate."""
    return [
        _flag(explanation, stage.site, gate, flag)
        for stage in explanation.stages
        for gate, flag in explanation.flags(stage.site)
    ]


def _flag(explanation: Explanation, site: str, gate: GateName, flag: str) -> str:
    assert explanation.study is not None  # there are no flags without a study
    spread = explanation.study.stages[site].gates[gate]
    name = f"{visible(site)}, {gate} gate"
    if flag == "saturated":
        return (
            f"{name}: saturated. {spread.low:.1%} of its values are in the lowest hundredth of the range and "
            f"{spread.high:.1%} in the highest: it no longer grades, and hardly learns."
        )
    return (
        f"{name}: constant. Its values spread by only {spread.std:.4f} (standard deviation) around {spread.mean:.3f}: "
        "it scales by a fixed number, whatever it sees."
    )
