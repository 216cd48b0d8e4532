from typing import Any

import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.checking.finding import Finding
from seg_scse.data.checking.findings import findings, training_notes
from seg_scse.data.files.raster import Place
from seg_scse.data.scaling import by_type
from seg_scse.errors import DataError

from .facts import Pair, pair, several

SPLITS = ("train", "train", "train", "train", "val", "val", "test", "test")


def found(pairs: list[Pair], crop: int | None = None, **data: Any) -> dict[str, Finding]:
    result = findings([s for s, _ in pairs], [e for _, e in pairs], DataConfig.model_validate(data), crop)
    assert len({(f.kind, f.text) for f in result}) == len(result)
    return {finding.kind: finding for finding in result}


def test_a_sound_data_set_gives_the_balance_of_its_classes_only() -> None:
    result = found(several(*SPLITS))
    assert list(result) == ["class-balance"]
    assert result["class-balance"].text == "pixels by class: background 50.00%, foreground 50.00%"


def test_nothing_is_found_in_nothing() -> None:
    assert found([]) == {}


def test_warnings_come_before_notes() -> None:
    result = found([*several(*SPLITS), pair("black", maxima=(0, 0, 0), class_pixels={0: 20})])
    assert [finding.level for finding in result.values()] == ["warning", "note", "note"]
    assert result["constant-image"].ids == ("black",)


def test_a_class_that_a_split_lacks_is_named_with_the_split() -> None:
    pairs = [*several("train", "train", "train", "val"), pair("t", "test", class_pixels={0: 20})]
    text = found(pairs)["absent-class"].text
    assert text == (
        "class foreground is in 4 images, but in none of test. Set data.split.stratify=true or another split."
    )


def test_a_class_in_no_mask_and_one_in_two_images_are_warned_of() -> None:
    result = found(several("train", "test"), classes=["background", "a", "b"])
    assert result["absent-class"].text == "class b is in no mask. Correct data.mask or data.classes."
    assert result["rare-class"].text.startswith("class a is in 2 of 2 images: too few")


def test_empty_and_ignored_masks_are_counted() -> None:
    pairs = [*several(*SPLITS), pair("e", "val", class_pixels={0: 20}), pair("i", "test", class_pixels={255: 20})]
    result = found(pairs)
    assert result["empty-mask"].text == "masks without any class but the first: 0 of 4 train, 1 of 3 val, 1 of 3 test"
    assert (result["all-ignored"].level, result["all-ignored"].ids) == ("warning", ("i",))


def test_slices_without_anything_are_no_warning() -> None:
    pairs = [pair(f"v{i}/0", s, f"v{i}", plane=0) for i, s in enumerate(SPLITS)]
    pairs.append(pair("v0/1", "train", "v0", plane=1, maxima=(0, 0, 0)))
    assert found(pairs)["constant-image"].level == "note"


def test_what_was_done_to_images_is_counted() -> None:
    pairs = [*several(*SPLITS), pair("g", facts=("are grey: repeated in rgb",))]
    assert found(pairs)["image-facts"].text == "1 of 9 images are grey: repeated in rgb"


def test_pixel_types_that_differ_are_warned_of() -> None:
    text = found([*several(*SPLITS), pair("w", dtype="uint16")])["mixed-types"].text
    assert "8 uint8, 1 uint16" in text


def test_images_smaller_than_the_crop_are_named() -> None:
    result = found([*several(*SPLITS, shape=(64, 64, 3)), pair("s", shape=(20, 64, 3))], crop=64)
    assert result["small-image"].ids == ("s",)
    assert result["small-image"].text == "1 of 9 images have a side below trainer.crop=64 and are padded"
    assert "small-image" not in found(several(*SPLITS))


def test_a_constant_band_is_warned_of() -> None:
    text = found(several(*SPLITS, minima=(0, 7, 0), maxima=(255, 7, 255)))["constant-band"].text
    assert text.startswith("band green is 7 in every image")


@pytest.mark.parametrize(
    ("dtype", "high", "scale", "warned"),
    [
        ("uint16", 4095, "dtype", True),
        ("uint16", 4095, "percentile", False),
        ("uint16", 60000, "dtype", False),
        ("int16", 2000, "dtype", False),
        ("float32", 1, "dtype", False),
        ("uint8", 20, "dtype", False),
    ],
)
def test_little_of_a_types_range_is_warned_of(dtype: str, high: int, scale: str, warned: bool) -> None:
    pairs = several(*SPLITS, dtype=dtype, maxima=(high,) * 3)
    result = found(pairs, scale={"method": scale})
    assert ("narrow-range" in result) == warned
    if warned:
        assert "Set it to percentile" in result["narrow-range"].text


def test_a_type_without_a_range_is_the_error_that_training_ends_with() -> None:
    pairs = [*several(*SPLITS), pair("s", dtype="int16"), pair("f", dtype="float32", maxima=(3.5, 1, 1))]
    finding = found(pairs)["scale"]
    assert (finding.level, finding.ids) == ("error", ("s", "f"))
    with pytest.raises(DataError) as refused:
        by_type([sample for sample, _ in pairs], [entry for _, entry in pairs], ())
    assert finding.text == str(refused.value)
    assert "2 of 10 images are float32 and int16" in finding.text
    assert "scale" not in found(pairs, scale={"method": "percentile"})


def test_places_that_differ_are_named() -> None:
    west, east = (Place(f"EPSG:{code}", None, (side, side), "m") for code, side in ((32749, 10.0), (32750, 20.0)))
    pairs = [*several("train", "train", "val", place=west), pair("e", "test", place=east), pair("n", "test")]
    result = found(pairs)
    assert "2 coordinate reference systems: EPSG:32749 (3), EPSG:32750 (1)" in result["mixed-crs"].text
    assert "10 x 10 m (3), 20 x 20 m (1)" in result["mixed-spacing"].text
    assert result["mixed-places"].text.startswith("1 of 5 images have no georeference")


def test_series_that_were_divided_apart_are_noted_with_an_expression() -> None:
    pairs = [pair(f"s{c}x_{i}", ("train", "test")[i % 2]) for c in "abc" for i in range(4)]
    text = found(pairs)["groups"].text
    assert "3 series, of which 3 are in more than one split" in text
    assert r"data.split.group: '^(.+)[_-]\d+$'" in text


def test_series_that_stay_together_or_are_declared_are_not_noted() -> None:
    together = [
        pair(f"s{c}x_{i}", split) for c, split in zip("abc", ("train", "val", "test"), strict=True) for i in range(4)
    ]
    assert "groups" not in found(together)
    declared = [pair(f"s{c}x_{i}", ("train", "test")[i % 2], f"s{c}x") for c in "abc" for i in range(4)]
    assert "groups" not in found(declared)
    assert "leak-group" in found(declared)


def test_a_finding_is_one_line_and_json() -> None:
    finding = Finding("warning", "leak-content", "leak: a = b", ("a", "b"))
    assert finding.line == "warning (leak-content): leak: a = b"
    assert finding.as_dict() == {"level": "warning", "kind": "leak-content", "text": "leak: a = b", "ids": ["a", "b"]}


def test_warnings_and_facts_are_said_before_a_training_and_notes_are_not() -> None:
    pairs = [*several(*SPLITS, facts=("are grey",)), pair("black", maxima=(0, 0, 0), class_pixels={0: 20})]
    notes = training_notes([s for s, _ in pairs], [e for _, e in pairs], DataConfig())
    assert notes == (
        "1 of 9 images have one value throughout: black. Leave them out, or correct them.",
        "8 of 9 images are grey",
    )


def test_a_leak_that_the_manifest_notes_is_not_said_twice_before_a_training() -> None:
    pairs = [*several(*SPLITS), pair("train/q", "train", "q"), pair("test/q", "test", "q")]
    assert "leak-name" in found(pairs)
    assert training_notes([s for s, _ in pairs], [e for _, e in pairs], DataConfig()) == ()
