from pathlib import Path

import nibabel
import numpy as np
import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.listing import list_samples
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.errors import ConfigError

from .trees import ALL_TRAIN


def volume(path: Path, shape: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), path)


@pytest.fixture
def cases(tmp_path):
    for name, slices in (("la_003", 4), ("la_020", 2)):
        volume(tmp_path / "images" / f"{name}.nii.gz", (6, 5, slices))
        volume(tmp_path / "masks" / f"{name}.nii", (6, 5, slices))
    return tmp_path


def config(root: Path, **data: object) -> DataConfig:
    return DataConfig.model_validate({"root": str(root), "split": ALL_TRAIN, **data})


def test_a_volume_becomes_one_sample_per_slice_in_one_group(cases):
    found = list_samples(config(cases))
    assert found.problems == []
    assert [(s.id, s.plane, s.group) for s in found.samples] == [
        *((f"la_003/00{k}", k, "la_003") for k in range(4)),
        *((f"la_020/00{k}", k, "la_020") for k in range(2)),
    ]
    assert {(s.image.name, s.masks[0].name) for s in found.samples} == {
        ("la_003.nii.gz", "la_003.nii"),
        ("la_020.nii.gz", "la_020.nii"),
    }


def test_slices_are_taken_along_the_declared_plane_at_the_declared_distance(cases):
    found = list_samples(config(cases, volume={"plane": "sagittal", "every": 4}))
    assert [sample.id for sample in found.samples] == ["la_003/000", "la_003/004", "la_020/000", "la_020/004"]


def test_a_volume_never_crosses_splits(cases):
    manifest = build_manifest(config(cases, split={"train": 0.5, "val": 0.5, "test": 0.0}))
    assert len({(sample.group, sample.split) for sample in manifest.samples}) == 2
    assert manifest.notes[-1].endswith("2 groups kept whole")


def test_a_group_expression_that_divides_a_volume_is_refused(cases):
    with pytest.raises(ConfigError, match=r"divides the slices of 2 volumes: la_003\.nii\.gz, la_020\.nii\.gz\. Match"):
        build_manifest(config(cases, split={**ALL_TRAIN, "group": r"/(\d+)$"}))
    by_patient = build_manifest(config(cases, split={**ALL_TRAIN, "group": r"^(la)"}))
    assert {sample.group for sample in by_patient.samples} == {"la"}


def test_volumes_and_slices_can_be_excluded_and_divided_by_name(cases):
    found = list_samples(config(cases, exclude={"la_020": "noise", "la_003/001": "cut"}))
    assert (found.problems, [s.id for s in found.samples]) == ([], ["la_003/000", "la_003/002", "la_003/003"])
    (cases / "s.csv").write_text("id,split\nla_003,train\nla_020,val\nla_003/002,test\n")
    divided = list_samples(config(cases, split={"file": str(cases / "s.csv")}))
    assert [s.split for s in divided.samples] == ["train", "train", "test", "train", "val", "val"]


def test_volumes_that_do_not_fit_are_problems(cases):
    volume(cases / "masks" / "la_003.nii", (6, 5, 3))
    (cases / "masks" / "la_020.nii").rename(cases / "masks" / "la_020.png")
    found = list_samples(config(cases))
    assert found.samples == ()
    assert "la_003: " in found.problems[0]
    assert "has 4 axial slices, but" in found.problems[0]
    assert "la_003.nii 3. Correct one" in found.problems[0]
    assert "la_020.png is none. A volume needs a label volume." in found.problems[1]


def test_a_broken_volume_is_one_problem(cases):
    (cases / "images" / "la_003.nii.gz").write_bytes(b"\x1f\x8b broken")
    found = list_samples(config(cases))
    assert len(found.problems) == 1
    assert "la_003.nii.gz" in found.problems[0]
    assert [sample.id for sample in found.samples] == ["la_020/000", "la_020/001"]
