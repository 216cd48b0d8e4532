from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.alike import Failed
from seg_scse.data.checking.finding import Finding
from seg_scse.data.checking.problems import listing_findings, look_again, sample_findings, survey_masks
from seg_scse.data.listing.listing import list_samples
from seg_scse.data.measuring import measure

from .unlabelled import draw_pictures


def failures(config: DataConfig) -> tuple[list[Failed], int]:
    samples = list_samples(config).samples
    found = measure(samples, config, False)
    return [(s, text) for s, text in zip(samples, found, strict=True) if isinstance(text, str)], len(samples)


def found(config: DataConfig) -> dict[str, Finding]:
    failed, total = failures(config)
    result = sample_findings([*failed, *look_again(failed, config)], total, config)
    assert len({finding.kind for finding in result}) == len(result), "one finding for each kind"
    assert all(finding.level == "error" and "\n" not in finding.text for finding in result)
    return {finding.kind: finding for finding in result}


def test_undeclared_values_are_summed_up_into_one_line_for_the_configuration(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 30, values=(0, 128))
    Image.new("L", (40, 32), 128).save(root / "masks" / "p00.png")
    (finding,) = found(DataConfig(root=str(root))).values()
    assert finding.kind == "mask-values"
    assert len(finding.ids) == 30
    assert "30 of 30 masks hold undeclared values; together these masks hold 0 (" in finding.text
    assert "128 (" in finding.text
    assert "put `mask: {encoding: index, values: {0: 0, 128: 1}}` into `data`." in finding.text
    assert f"0 ({29 * 32 * 20:,} pixels), 128 ({31 * 32 * 20:,} pixels)" in finding.text


def test_a_few_masks_with_another_value_are_named_with_what_to_add(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 6, values=(0, 1))
    mask = np.zeros((32, 40), np.uint8)
    mask[0, :3], mask[1] = 7, 1
    Image.fromarray(mask).save(root / "masks" / "p02.png")
    (finding,) = found(DataConfig(root=str(root))).values()
    assert finding.ids == ("p02",)
    assert "declare 7 too, such as `data.mask.values: {0: 0, 1: 1, 7: 255}` (255 as class: ignore)" in finding.text


def test_undeclared_colours_are_summed_up_too(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 4)
    for path in (root / "masks").iterdir():
        Image.new("RGB", (40, 32), (0, 0, 255)).save(path)
    config = DataConfig.model_validate(
        {"root": str(root), "mask": {"encoding": "colours", "colours": {"#000000": 0, "#ff0000": 1}}}
    )
    (finding,) = found(config).values()
    assert finding.kind == "mask-values"
    assert f"#0000ff ({4 * 32 * 40:,} pixels)" in finding.text


def test_equal_problems_of_many_files_are_one_finding(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 12)
    for index in range(5):
        (root / "images" / f"p{index:02}.png").write_bytes(b"")
    (finding,) = found(DataConfig(root=str(root), mask={"encoding": "binary"})).values()
    assert finding.kind == "unreadable"
    assert finding.ids == tuple(f"p{index:02}" for index in range(5))
    assert "p00.png" in finding.text
    assert "The same holds for 4 more samples: p01, p02, p03, p04" in finding.text


def test_every_kind_of_problem_is_found_at_once(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 8)
    (root / "images" / "p00.png").write_bytes(b"")
    cut = (root / "images" / "p01.png").read_bytes()
    (root / "images" / "p01.png").write_bytes(cut[: len(cut) // 2])
    Image.new("L", (41, 32), 255).save(root / "masks" / "p02.png")
    Image.new("RGBA", (40, 32), (1, 2, 3, 9)).save(root / "images" / "p03.png")
    Image.new("L", (40, 32), 3).save(root / "masks" / "p04.png")
    config = DataConfig.model_validate({"root": str(root), "mask": {"encoding": "index", "values": {0: 0, 255: 1}}})
    failed, total = failures(config)
    kinds = {(f.kind, f.ids) for f in sample_findings(failed, total, config)}
    assert kinds == {
        ("unreadable", ("p00",)),
        ("unreadable", ("p01",)),
        ("size-mismatch", ("p02",)),
        ("image-kind", ("p03",)),
        ("mask-values", ("p04",)),
    }


def test_a_mask_behind_a_refused_image_is_looked_at_too(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 3)
    Image.new("RGBA", (40, 32), (1, 2, 3, 9)).save(root / "images" / "p00.png")
    Image.new("L", (40, 30), 9).save(root / "masks" / "p00.png")
    (root / "images" / "p01.png").write_bytes(b"")
    (root / "masks" / "p01.png").write_bytes(b"")
    result = found(DataConfig.model_validate({"root": str(root), "mask": {"values": {0: 0, 255: 1}}}))
    assert result.keys() == {"image-kind", "size-mismatch", "mask-values", "unreadable"}
    assert result["size-mismatch"].ids == result["mask-values"].ids == ("p00",)


def test_a_mask_with_transparency_is_a_problem_of_the_mask(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 2)
    Image.new("LA", (40, 32), (255, 9)).save(root / "masks" / "p00.png")
    (finding,) = found(DataConfig.model_validate({"root": str(root), "mask": {"encoding": "binary"}})).values()
    assert (finding.kind, finding.ids) == ("mask-encoding", ("p00",))
    assert "alpha" in finding.text


def test_listing_problems_are_errors_on_one_line() -> None:
    (finding,) = listing_findings(["2 have no mask:\n  - a\n  - b"])
    assert finding == Finding("error", "listing", "2 have no mask: - a - b")


@pytest.mark.parametrize("encoding", ["polygons", "rle"])
def test_annotation_files_are_not_counted_as_pixels(tmp_path: Path, encoding: str) -> None:
    samples = list_samples(DataConfig(root=str(draw_pictures(tmp_path, 2)))).samples
    config = DataConfig.model_validate({"mask": {"encoding": encoding}})
    assert not survey_masks(samples, config).values
