"""The `data` section that a check suggests: as declared, with what the data calls for in addition, and why."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from seg_scse.config.schema import DataConfig
from seg_scse.data.alike import Failed
from seg_scse.data.checking.finding import Finding
from seg_scse.data.checking.grouping import group_hint
from seg_scse.data.checking.inspection import Seen, look
from seg_scse.data.checking.problems import OUTSIDE, mask_problems, survey_masks
from seg_scse.data.checking.proposals import (
    NODATA,
    Reasons,
    nodata_reason,
    propose_images,
    propose_mask,
    propose_scale,
)
from seg_scse.data.checking.tally import Tally
from seg_scse.data.files.signatures import HEAD, file_format
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import DataError

_MOST_EXCLUDED = 20  # more broken files than this are a broken copy, not exceptions to name
_REASON = 120  # characters of a reason
_BROKEN = {"unreadable", "size-mismatch", "mask-place"}
_NO_PIXELS = ("polygons", "rle")
_SCALES = {"scale", "narrow-range", "mixed-types"}
_MOST_OPENED = 50  # files whose format is looked up
_MASKS = {"mask-values", "mask-encoding"}


def suggest_section(
    config: DataConfig, samples: Sequence[Sample], failed: Sequence[Failed], findings: Sequence[Finding]
) -> tuple[dict[str, Any], Reasons]:
    """Suggest a `data` section with which samples that cannot be used now could be.

    Args:
        config: the section as it was given, before its card was resolved.
        samples: all samples.
        failed: those that cannot be used, and why.
        findings: what was found about them.

    Returns:
        the section, and comments by key.
    """
    section = config.model_dump(mode="json", exclude_defaults=True)
    if config.mask.values is not None:  # JSON has no integer keys
        section["mask"]["values"] = dict(config.mask.values)
    reasons: Reasons = {}
    resolved = resolve_card(config)
    undeclared = _of_kinds(findings, _MASKS) - _add_nodata(section, reasons, failed, resolved)
    if 2 * len(undeclared) >= max(1, len(samples)) and resolved.mask.encoding not in _NO_PIXELS:
        _add_mask(section, reasons, samples, resolved)
    other = _of_kinds(findings, {"image-kind"})
    if other:
        _add_images(section, reasons, [sample for sample in samples if sample.id in other], config)
    _add_exclusions(section, reasons, failed, findings)
    return section, reasons


def add_remarks(
    section: dict[str, Any],
    reasons: Reasons,
    samples: Sequence[Sample],
    findings: Sequence[Finding],
    tally: Tally,
) -> None:
    """Add what samples that can be read call for: a scale, the shares of the classes, and a hint on groups.

    Args:
        section: from `suggest_section`; changed.
        reasons: likewise; changed.
        samples: all samples.
        findings: everything that was found.
        tally: what the samples hold.
    """
    unscaled = any(found.kind in _SCALES for found in findings)
    if unscaled and section.get("scale", {}).get("method", "dtype") == "dtype":
        scale = propose_scale(_measured(samples, tally))
        if scale is not None:
            section["scale"], reasons["scale"] = scale
    pixels = {row.name: sum(row.pixels.values()) for row in tally.classes}
    every = sum(pixels.values())
    if every:
        found = ", ".join(f"{shown(name)} {count / every:.2%}" for name, count in pixels.items())
        reasons.setdefault("mask", f"found by this declaration: {found}")
    hint = group_hint([sample.id for sample in samples])
    declared = section.get("split", {})
    if hint is not None and not declared.keys() & {"group", "block", "file"}:
        reasons["split"] = f"if these {hint.count} series are patients or scenes, add group: '{hint.expression}'"


def _measured(samples: Sequence[Sample], tally: Tally) -> Seen:
    """What was measured of all images, in the words of what is seen in some."""
    seen = Seen(list(samples), len(samples), dtypes=Counter(tally.dtypes))
    seen.low = min((band.low for band in tally.bands), default=seen.low)
    seen.high = max((band.high for band in tally.bands), default=seen.high)
    for sample in samples[:: max(1, -(-len(samples) // _MOST_OPENED))]:
        try:
            with sample.image.open("rb") as stream:
                seen.formats[file_format(stream.read(HEAD)) or "unknown"] += 1
        except OSError:  # such files are among the findings
            continue
    return seen


def _of_kinds(findings: Sequence[Finding], kinds: set[str]) -> set[str]:
    """Samples that have an error of one of these kinds."""
    return {id_ for found in findings if found.level == "error" and found.kind in kinds for id_ in found.ids}


def _add_nodata(section: dict[str, Any], reasons: Reasons, failed: Sequence[Failed], config: DataConfig) -> set[str]:
    """Where masks are as declared but for pixels without data, say what these are; return the ids of such samples."""
    samples = [sample for sample, text in failed if "data.mask.nodata" in text]
    if not samples:
        return set()
    seen = survey_masks(samples, config)
    for choice in NODATA if len(seen.values) < 2 else NODATA[::-1]:
        mask = config.mask.model_copy(update={"nodata": choice})
        declared = config.model_copy(update={"mask": mask})
        if not any(mask_problems(sample, None, declared) for sample in samples):
            section["mask"] = {**section.get("mask", {}), "nodata": choice}
            reasons["mask"] = nodata_reason(seen)
            return {sample.id for sample in samples}
    return set()


def _add_mask(section: dict[str, Any], reasons: Reasons, samples: Sequence[Sample], config: DataConfig) -> None:
    try:
        chosen, why = propose_mask(survey_masks(samples, config))
    except DataError as error:
        reasons["mask"] = f"no proposal: {error}"
        return
    same = len(chosen["classes"]) == len(config.classes)
    section |= {"mask": chosen["mask"]} if same else chosen
    reasons["mask"] = why["data.mask"]
    if not same:
        reasons["classes"] = why["data.classes"]


def _add_images(section: dict[str, Any], reasons: Reasons, samples: Sequence[Sample], config: DataConfig) -> None:
    try:
        chosen, why = propose_images(look(samples, config, progress=False))
    except DataError as error:
        reasons["images"] = f"no proposal: {error}"
        return
    section |= chosen
    reasons |= {key.removeprefix("data."): text for key, text in why.items()}


def _add_exclusions(
    section: dict[str, Any], reasons: Reasons, failed: Sequence[Failed], findings: Sequence[Finding]
) -> None:
    broken = _of_kinds(findings, _BROKEN) | {sample.id for sample, text in failed if OUTSIDE.search(text)}
    if 0 < len(broken) <= _MOST_EXCLUDED:
        told = {sample.id: _reason(sample, text) for sample, text in failed if sample.id in broken}
        section["exclude"] = {**section.get("exclude", {}), **told}
        reasons["exclude"] = "better than leaving them out: correct the files"


def _reason(sample: Sample, text: str) -> str:
    """What is wrong, without folders and without what to do about it."""
    for path in sample.files:
        text = text.replace(shown(path), shown(path.name))
    first = " ".join(text.split()).split(". ")[0].rstrip(".")
    return textwrap.shorten(first, _REASON, placeholder=" ...")


def section_text(section: Mapping[str, Any], reasons: Mapping[str, str], lacking: str = "") -> str:
    """The section as YAML that can be pasted, with the reasons as comments above their keys.

    Args:
        section: the section.
        reasons: comments by key.
        lacking: what the section does not solve; a comment above everything.
    """
    lines = [*(f"# {line}" for line in textwrap.wrap(lacking, 100)), "data:"]
    missing = [key for key in reasons if key not in section]
    for key in [*section, *missing]:
        for paragraph in reasons.get(key, "").splitlines():
            lines += [f"  # {key + ': ' if key in missing else ''}{line}" for line in textwrap.wrap(paragraph, 100)]
        if key in section:
            lines.append(f"  {key}: {_inline(section[key])}")
    return "\n".join([*lines, ""])


def _inline(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
