from pathlib import Path
from typing import Any

import yaml

from seg_scse.config.schema import DataConfig
from seg_scse.data.checking.finding import Finding
from seg_scse.data.checking.suggestion import add_remarks, section_text, suggest_section
from seg_scse.data.checking.tally import count_everything
from seg_scse.data.listing.listing import list_samples
from seg_scse.data.samples import Sample

from .facts import pair
from .unlabelled import draw_bands, draw_pictures, draw_volumes


def test_what_is_declared_and_right_stays_as_it_is() -> None:
    config = DataConfig(root="r", classes=("a", "b"), mask={"encoding": "palette", "values": {1: 1, 2: 0}})
    pairs = [pair("ax"), pair("bx", "test")]
    samples = [sample for sample, _ in pairs]
    section, reasons = suggest_section(config, samples, [], [])
    add_remarks(section, reasons, samples, [], count_everything(pairs, config))
    assert section == {"root": "r", "classes": ["a", "b"], "mask": {"encoding": "palette", "values": {1: 1, 2: 0}}}
    assert reasons == {"mask": "found by this declaration: a 50.00%, b 50.00%"}
    assert DataConfig.model_validate(yaml.safe_load(section_text(section, reasons))["data"]) == config


def test_broken_files_are_named_as_exclusions_without_folders() -> None:
    sample, _ = pair("ax")
    text = f"{sample.image}: the file is cut off after 12 bytes. Get it again."
    found = [Finding("error", "unreadable", text, ("ax",))]
    section, reasons = suggest_section(DataConfig(exclude={"q": "old"}), [sample], [(sample, text)], found)
    assert section["exclude"] == {"q": "old", "ax": "ax.png: the file is cut off after 12 bytes"}
    assert "correct the files" in reasons["exclude"]


def test_many_broken_files_are_no_exceptions() -> None:
    samples = [pair(f"{i}x")[0] for i in range(21)]
    failed = [(sample, "broken") for sample in samples]
    found = [Finding("error", "unreadable", "broken", tuple(sample.id for sample in samples))]
    assert "exclude" not in suggest_section(DataConfig(), samples, failed, found)[0]


def test_bands_are_proposed_where_images_are_refused(tmp_path: Path) -> None:
    config = DataConfig(root=str(draw_bands(tmp_path, "uint16", 5, 4000)))
    samples = list_samples(config).samples
    found = [Finding("error", "image-kind", "has 5 bands", tuple(sample.id for sample in samples))]
    section, reasons = suggest_section(config, samples, [(s, "has 5 bands") for s in samples], found)
    assert section["bands"] == ["band1", "band2", "band3", "band4", "band5"]
    assert section["scale"] == {"method": "percentile"}
    assert reasons.keys() == {"bands", "scale"}


def test_no_mask_is_proposed_for_a_few_that_differ(tmp_path: Path) -> None:
    config = DataConfig(root=str(draw_pictures(tmp_path, 5, values=(0, 7))))
    samples = list_samples(config).samples
    few = [Finding("error", "mask-values", "undeclared", tuple(s.id for s in samples[:2]))]
    assert "mask" not in suggest_section(config, samples, [], few)[0]
    many = [Finding("error", "mask-values", "undeclared", tuple(s.id for s in samples[:3]))]
    assert suggest_section(config, samples, [], many)[0]["mask"]["values"] == {0: 0, 7: 1}


def test_what_allows_no_proposal_is_said(tmp_path: Path) -> None:
    config = DataConfig(root=str(draw_pictures(tmp_path, 3, values=(7, 7))))
    samples = list_samples(config).samples
    found = [Finding("error", "mask-values", "undeclared", tuple(s.id for s in samples))]
    section, reasons = suggest_section(config, samples, [], found)
    assert "mask" not in section
    assert "# mask: no proposal: all masks inspected hold one value only" in section_text(section, reasons)


def remarks(config: DataConfig, samples: list[Sample], *found: Finding) -> tuple[dict[str, object], dict[str, str]]:
    section, reasons = suggest_section(config, samples, [], [])
    add_remarks(section, reasons, samples, found, count_everything([], config))
    return section, reasons


def test_series_are_a_comment_only() -> None:
    samples = [pair(f"s{c}x_{i}")[0] for c in "abc" for i in range(3)]
    section, reasons = remarks(DataConfig(), samples)
    assert "split" not in section
    assert "3 series" in reasons["split"]
    assert "split" not in remarks(DataConfig.model_validate({"split": {"group": "^(.+)_"}}), samples)[1]


def scale_of(root: Path, low: int, kind: str = "scale", **data: Any) -> tuple[object, str]:
    """The scale that is suggested for int16 images in a folder, and why."""
    config = DataConfig.model_validate({"root": str(root), **data})
    samples = list_samples(config).samples
    facts = {"dtype": "int16", "minima": (low,) * 3, "maxima": (1500,) * 3}
    tally = count_everything([(sample, pair("x", **facts)[1]) for sample in samples], config)
    section, reasons = suggest_section(config, samples, [], [])
    add_remarks(section, reasons, samples, [Finding("error", kind, "no range")], tally)
    return section.get("scale"), reasons.get("scale", "")


def test_the_scale_that_is_suggested_is_the_one_that_the_kind_of_data_calls_for(tmp_path: Path) -> None:
    scans = draw_volumes(tmp_path / "v", -1024, 1500)
    scale, reason = scale_of(scans, -1024)
    assert scale == {"method": "range", "low": -1000.0, "high": 1000.0}
    assert reason.startswith("int16 with values from -1024 to 1500, which looks like Hounsfield units")
    assert scale_of(scans, 0)[0] == {"method": "percentile", "per": "file"}
    tiles = draw_bands(tmp_path / "b", "int16", 3, 1500)
    assert scale_of(tiles, -1024, "narrow-range")[0] == {"method": "percentile"}
    declared = {"method": "zscore"}
    assert scale_of(tiles, 0, "mixed-types", scale=declared) == (declared, "")


def test_the_text_is_yaml_with_comments_above_their_keys() -> None:
    text = section_text({"bands": ["a", "b"], "mask": {"values": {0: 0}}}, {"bands": "long " * 60, "split": "hint"})
    lines = text.splitlines()
    assert lines[0] == "data:"
    assert lines[1].startswith("  # long long")
    assert max(map(len, lines)) <= 110
    assert lines[-1] == "  # split: hint"
    assert yaml.safe_load(text) == {"data": {"bands": ["a", "b"], "mask": {"values": {0: 0}}}}
