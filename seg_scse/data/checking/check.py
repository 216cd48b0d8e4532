"""The data check: everything that is wrong with a data set, or would spoil a result, found in one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import ValidationError

from seg_scse.config.schema import DataConfig
from seg_scse.data.alike import Failed, one_line
from seg_scse.data.checking.finding import LEVELS, Finding, by_level, of_level
from seg_scse.data.checking.findings import findings
from seg_scse.data.checking.problems import listing_findings, look_again, sample_findings
from seg_scse.data.checking.suggestion import add_remarks, section_text, suggest_section
from seg_scse.data.checking.tally import Tally, count_everything, present_classes
from seg_scse.data.checking.views import View, choose_samples, make_views, problem_view
from seg_scse.data.entries import Entry
from seg_scse.data.listing.listing import Listing, list_samples
from seg_scse.data.listing.manifest import divide_listing
from seg_scse.data.listing.splits import count_splits
from seg_scse.data.measuring import measure
from seg_scse.data.samples import Sample
from seg_scse.data.scaling import declared_range
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import ConfigError, DataError

__all__ = ["CheckResult", "check_data", "findings"]

_MOST_PROBLEM_VIEWS = 12
_GUESSES = ("data.bands", "data.alpha", "data.scale", "data.mask", "data.classes")
_SATURATED = 0.05  # of a band's pixels at the highest value of its type


@dataclass(frozen=True)
class CheckResult:
    """What a check found out.

    Attributes:
        config: the `data` section that the numbers hold for, with the values of its card: the given one, or the
            suggested one where most samples cannot be used with it.
        samples: all samples that were listed, sorted by id; without splits where they could not be divided.
        usable: how many of them can be used as declared.
        findings: errors first, then warnings, then notes.
        tally: what the samples that can be used hold.
        views: some of them, made small.
        problem_views: some of those that cannot be used.
        suggestion: the suggested `data` section as YAML with comments.
        suggestion_holds: no sample is refused with it; else its first comment says what is lacking.
    """

    config: DataConfig
    samples: tuple[Sample, ...]
    usable: int
    findings: tuple[Finding, ...]
    tally: Tally
    views: tuple[View, ...]
    problem_views: tuple[View, ...]
    suggestion: str
    suggestion_holds: bool

    @property
    def exit_code(self) -> int:
        """3, as training would end with, where there is an error; warnings leave 0."""
        return DataError.exit_code if of_level(self.findings, "error") else 0

    @property
    def divided(self) -> bool:
        """Every sample has a split."""
        return bool(self.samples) and all(sample.split is not None for sample in self.samples)

    @property
    def summary(self) -> str:
        """One line: how many samples, and how many findings of each level."""
        counts = ", ".join(
            f"{len(found)} {level}{'' if len(found) == 1 else 's'}"
            for level in LEVELS
            if (found := of_level(self.findings, level))
        )
        splits = f" ({count_splits(self.samples)})" if self.divided else ""
        return f"{self.usable} of {len(self.samples)} samples can be used{splits}: {counts or 'nothing found'}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: everything but the pictures."""
        tally = self.tally
        return {
            "summary": self.summary,
            "samples": len(self.samples),
            "usable": self.usable,
            "levels": {level: len(of_level(self.findings, level)) for level in LEVELS},
            "findings": [finding.as_dict() for finding in self.findings],
            "splits": {name: asdict(row) for name, row in tally.splits.items()},
            "classes": [asdict(row) for row in tally.classes],
            "bands": [asdict(row) for row in tally.bands],
            "sizes": [{"height": h, "width": w, "images": count} for (h, w), count in tally.sizes.items()],
            "dtypes": dict(tally.dtypes),
            "places": [
                {"crs": crs, "pixel_height": height, "pixel_width": width, "unit": unit, "images": count}
                for (crs, height, width, unit), count in tally.places.items()
            ],
            "suggestion": self.suggestion,
            "suggestion_holds": self.suggestion_holds,
        }


def check_data(
    config: DataConfig,
    progress: bool = False,
    crop: int | None = None,
    chosen: Mapping[str, str] = MappingProxyType({}),
) -> CheckResult:
    """List, read and measure all samples, and say all that is wrong or would spoil a result.

    Samples are read through the cache: what did not change since the last check or training is not read again.

    Args:
        config: the `data` section.
        progress: draw a progress bar on stderr.
        crop: `trainer.crop` in pixels, to compare image sizes with.
        chosen: why parts of the section were chosen, by dotted key, where nobody declared them.

    Returns:
        all findings and numbers; problems of the data are among the findings, not raised.

    Raises:
        ConfigError: unknown card, a pattern that is no regular expression, or a scale that does not fit the bands.
        WriteError: the cache cannot be written.
    """
    resolved = resolve_card(config)
    declared_range(resolved)
    listing = list_samples(resolved)
    measured = measure(listing.samples, resolved, progress)
    failed = [(s, text) for s, text in zip(listing.samples, measured, strict=True) if isinstance(text, str)]
    found = [
        *listing_findings(listing.problems),
        *sample_findings([*failed, *look_again(failed, resolved)], len(measured), resolved),
        *(Finding("note", "listing", note) for note in listing.notes),
    ]
    found += [Finding("note", "assumed", f"{key}: {why}") for key, why in chosen.items() if key in _GUESSES]
    section, suggested = suggest_section(config, listing.samples, failed, found)
    reasons = {key.removeprefix("data."): why for key, why in chosen.items() if key.startswith("data.")} | suggested
    judged, entries, assumed = _assume(section, listing.samples, measured, resolved, progress)
    samples, tally, views, judgement = _judge(listing.samples, entries, judged, crop)
    found += [*assumed, *judgement]
    add_remarks(section, reasons, samples, found, tally)
    lacking = _lacking(section, failed, progress)
    unusable = {sample.id for sample, _ in failed[:_MOST_PROBLEM_VIEWS]}
    broken = [problem_view(sample, resolved) for sample in samples if sample.id in unusable]
    return CheckResult(
        config=judged,
        samples=tuple(samples),
        usable=len(measured) - len(failed),
        findings=tuple(by_level(found)),
        tally=tally,
        views=tuple(views),
        problem_views=tuple(view for view in broken if view is not None),
        suggestion=section_text(section, reasons, lacking),
        suggestion_holds=not lacking,
    )


def _lacking(section: Mapping[str, Any], failed: Sequence[Failed], progress: bool) -> str:
    """Try the suggested section on the samples that are refused, and say what it leaves unsolved."""
    if not failed:
        return ""
    try:
        suggested = resolve_card(DataConfig.model_validate(section))
    except ValidationError as error:
        return f"no suggestion: {error.errors()[0]['msg']}"
    left = [sample for sample, _ in failed if sample.id not in suggested.exclude]
    refused = [text for text in measure(left, suggested, progress) if isinstance(text, str)]
    if not refused:
        return ""
    return (
        f"no suggestion yet: with these lines {len(refused)} samples are still refused, such as {one_line(refused[0])}"
    )


def _assume(
    section: Mapping[str, Any],
    samples: Sequence[Sample],
    measured: Sequence[Entry | str],
    config: DataConfig,
    progress: bool,
) -> tuple[DataConfig, list[Entry | None], list[Finding]]:
    """Where most samples cannot be used as declared, judge them as the suggestion declares them, if that helps.

    Otherwise a wrong declaration would hide duplicates and leaks until it is corrected.
    """
    entries = _entries(measured)
    if 2 * entries.count(None) <= len(entries):
        return config, entries, []
    try:
        assumed = resolve_card(DataConfig.model_validate(section))
    except (ValidationError, ConfigError):
        return config, entries, []
    again = _entries(measure(samples, assumed, progress))
    if again.count(None) >= entries.count(None):
        return config, entries, []
    text = "all that is said here about classes, pixels and splits holds for the suggested configuration"
    return assumed, again, [Finding("note", "assumed", text)]


def _entries(measured: Sequence[Entry | str]) -> list[Entry | None]:
    return [entry if isinstance(entry, Entry) else None for entry in measured]


def _judge(
    samples: Sequence[Sample], entries: Sequence[Entry | None], config: DataConfig, crop: int | None
) -> tuple[list[Sample], Tally, list[View], list[Finding]]:
    """Divide and count the samples, look at some, and say what would spoil a result."""
    divided, found = _divide(samples, entries, config)
    pairs = [(sample, entry) for sample, entry in zip(divided, entries, strict=True) if entry is not None]
    tally = count_everything(pairs, config)
    views = make_views(choose_samples(pairs), tally.bands, config)
    found += findings([sample for sample, _ in pairs], [entry for _, entry in pairs], config, crop)
    return divided, tally, views, [*found, *_saturated(views, tally)]


def _divide(
    samples: Sequence[Sample], entries: Sequence[Entry | None], config: DataConfig
) -> tuple[list[Sample], list[Finding]]:
    """Divide the samples as training does; where that fails, they stay as they are and the reason is an error."""
    presence: Mapping[str, frozenset[int]] = {
        sample.id: present_classes(entry) if entry else frozenset()
        for sample, entry in zip(samples, entries, strict=True)
    }
    try:
        manifest = divide_listing(Listing(tuple(samples), [], []), config, presence)
    except DataError as error:
        return list(samples), [Finding("error", "split", " ".join(str(error).split()))] if samples else []
    notes = [note for note in manifest.notes if not note.startswith("possible leak")]  # `findings` says it better
    return list(manifest.samples), [Finding("note", "split", note) for note in notes]


def _saturated(views: Sequence[View], tally: Tally) -> list[Finding]:
    """Bands with many pixels at the highest value of their type, in the samples that were looked at."""
    dtype = next(iter(tally.dtypes), "")
    if not views or len(tally.dtypes) != 1 or dtype == "float32":
        return []
    pixels = sum(view.pixels for view in views)
    found = []
    for band, row in enumerate(tally.bands):
        share = sum(int(view.top[band]) for view in views) / max(1, pixels)
        if row.high == np.iinfo(dtype).max and share > _SATURATED:
            text = f"band {row.name}: {share:.1%} of the pixels of {len(views)} samples are at {row.high:g}"
            found.append(Finding("note", "saturated-band", f"{text}, the most that {dtype} can hold"))
    return found
