from pathlib import Path

import pytest

from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError
from seg_scse.evaluation.loaded import Loaded
from seg_scse.evaluation.members import beside, joined, labels, names_of, require_unseen


def member(run: Path, splits: dict[str, str] | None = None) -> Loaded:
    return Loaded(run / "checkpoints" / "best.ckpt", f"digest of {run}", {"splits": splits or {}}, Config(), run)


def test_members_are_named_by_their_runs_as_far_as_needed():
    alone = Loaded(Path("weights/final.ckpt"), "d", {}, Config(), None)
    assert labels([member(Path("/runs/a")), member(Path("/runs/b")), alone]) == ["a", "b", "final"]
    assert labels([member(Path("/x/cv/fold0")), member(Path("/x/dv/fold0"))]) == ["cv/fold0", "dv/fold0"]
    assert labels([member(Path("/x/a")), member(Path("/x/a"))]) == ["x/a (1)", "x/a (2)"]


def written(run: Path, *checkpoints: str) -> Path:
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    for name in checkpoints:
        (run / "checkpoints" / name).touch()
    return run


def test_runs_have_names_that_differ_and_fit_folders(tmp_path):
    a, b = written(tmp_path / "x" / "run", "best.ckpt", "last.ckpt"), written(tmp_path / "y" / "run")
    weights = a / "checkpoints"
    assert names_of([a]) == ["run"]
    assert names_of([weights / "best.ckpt", weights / "last.ckpt"]) == ["run", "run-last"]
    assert names_of([a, b]) == ["x-run", "y-run"]
    assert names_of([a, a]) == ["x-run-1", "x-run-2"]
    (tmp_path / "final.ckpt").touch()
    assert names_of([tmp_path / "final.ckpt", a]) == ["final", "run"]


def test_what_several_runs_share_lies_beside_the_first(tmp_path):
    a, b = written(tmp_path / "x" / "run", "last.ckpt"), written(tmp_path / "y" / "other")
    assert beside([a, b], "ensemble") == tmp_path / "x" / "run+other-ensemble"
    assert beside([a / "checkpoints" / "last.ckpt", b], "test") == tmp_path / "x" / "run-last+other-test"


def test_many_names_are_cut():
    assert joined(["a", "b", "c"]) == "a+b+c"
    assert joined(["a", "b", "c", "d"]) == "a+3-more"


def test_images_that_a_member_does_not_know_are_unseen_and_equal_splits_are_too():
    first, same = ({"x": "test", "y": "train"} for _ in range(2))
    require_unseen(
        [member(Path("/a"), first), member(Path("/b"), same), member(Path("/c"), {"z": "train"})], ["x", "q"]
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_image_that_a_member_was_trained_or_chosen_with_is_named(split):
    members = [member(Path("/a"), {"x": "test"}), member(Path("/b"), {"x": split})]
    with pytest.raises(ConfigError, match=rf"b has 1 of the test images of a in another split, such as {split}: x"):
        require_unseen(members, ["x"])
