"""The check on real data with real defects, where they are (see test_real_data)."""

from pathlib import Path
from typing import Any

import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.checking.check import CheckResult, check_data
from seg_scse.data.sets.archives import extract

from ..test_real_data import FOLDER, need

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no real data: set SEG_SCSE_REAL_DATA to the folder of the archives"
)

SPLIT = {"images": "{split}/images", "masks": "{split}/masks"}


def check(root: Path, cache: Path, **data: Any) -> CheckResult:
    return check_data(DataConfig.model_validate({"root": str(root), "cache": str(cache), **data}))


def kinds(result: CheckResult, level: str) -> list[str]:
    return [finding.kind for finding in result.findings if finding.level == level]


def test_amazon_without_its_card_is_refused_with_the_values_and_the_one_wrong_mask(tmp_path: Path) -> None:
    root = extract(need("amazon_forest_rgb.tar.gz"), tmp_path)[0] / "amazon_forest_rgb" / "training"
    result = check(root, tmp_path, mask={"encoding": "palette"})
    values, size = (finding for finding in result.findings if finding.level == "error")
    assert (values.kind, len(values.ids)) == ("mask-values", 30)
    assert "1 (4,206,904 pixels), 2 (3,658,952 pixels)" in values.text
    assert (size.kind, size.ids) == ("size-mismatch", ("Amazon_181.tiff_34",))
    assert "mask: {encoding: palette, values: {1: 0, 2: 1}}" in result.suggestion
    assert "exclude: {Amazon_181.tiff_34: " in result.suggestion
    assert "assumed" in kinds(result, "note")


def test_amazon_with_its_card_can_be_used(tmp_path: Path) -> None:
    need("amazon_forest_rgb.tar.gz")
    result = check(FOLDER, tmp_path, card="amazon_forest")
    assert (kinds(result, "error"), kinds(result, "warning")) == ([], [])
    assert [(name, row.images) for name, row in result.tally.splits.items()] == [
        ("train", 23),
        ("val", 6),
        ("test", 15),
    ]


def test_mangrove_needs_its_bands_named_and_gets_them_proposed(tmp_path: Path) -> None:
    root = extract(need("mangrove_dev_4band.tar.gz"), tmp_path)[0] / "mangrove_dev"
    refused = check(root, tmp_path, **SPLIT)
    assert kinds(refused, "error") == ["image-kind"]
    assert "bands: [red, green, blue, nir]" in refused.suggestion
    result = check(root, tmp_path, bands=["red", "green", "blue", "nir"], **SPLIT)
    assert kinds(result, "error") == []
    assert {crs for crs, *_ in result.tally.places} == {"EPSG:32750"}
