"""Rows of classes by their names: the odds of a class against the background survive a change of classes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from seg_scse.models.source import Source
from seg_scse.models.transfer import transfer

from .sources import BINARY, CLASSIC, FOUR, RGB, answer, network, source


def probabilities(logits: Tensor, task: str) -> Tensor:
    """Odds of each class but the background, against the background."""
    return logits.double() if logits.shape[1] == 1 or task == "multilabel" else (logits[:, 1:] - logits[:, :1]).double()


LABELS = ("none", "nucleus", "wall")
HEADS = {
    "binary": (BINARY, "multiclass"),
    "multiclass": (FOUR, "multiclass"),
    "other order": (("background", "nucleus", "axon"), "multiclass"),
    "multilabel": (LABELS, "multilabel"),
}


@pytest.mark.parametrize("to", HEADS)
@pytest.mark.parametrize("start", HEADS)
def test_the_odds_of_a_class_against_the_background_survive_every_change_of_classes(start: str, to: str) -> None:
    (old, before), (new, after) = HEADS[start], HEADS[to]
    theirs, given = source(CLASSIC, old, task=before)
    ours = network(CLASSIC, new, task=after)
    result = transfer(ours, given, new, RGB)
    expected, found = probabilities(answer(theirs), before), probabilities(answer(ours), after)
    for name in set(old[1:]) & set(new[1:]):
        torch.testing.assert_close(found[:, new.index(name) - 1], expected[:, old.index(name) - 1])
    head = result.moved["segmentation_head.weight"]
    assert head.action == ("loaded" if start == to else "adapted")
    fresh = [name for name in new[1:] if name not in old]
    assert head.how.endswith(f"; new: {', '.join(fresh)}" if fresh else "")


def test_the_two_logits_of_a_softmax_become_the_one_of_a_sigmoid_exactly() -> None:
    theirs, given = source(CLASSIC, BINARY)
    ours = network(CLASSIC, FOUR)
    transfer(ours, given, FOUR, RGB)
    pair = answer(ours)[:, [0, 3]]  # background and nucleus, as if the two others could not be
    torch.testing.assert_close(pair.softmax(1)[:, 1:], answer(theirs).sigmoid())
    assert torch.equal(pair[:, 0], torch.zeros_like(pair[:, 0]))


def test_rows_of_new_classes_stay_as_they_were() -> None:
    _, given = source(CLASSIC, FOUR)
    ours, untouched = network(CLASSIC, (*FOUR, "wall")), network(CLASSIC, (*FOUR, "wall"))
    result = transfer(ours, given, (*FOUR, "wall"), RGB)
    assert torch.equal(ours.segmentation_head.weight[4], untouched.segmentation_head.weight[4])
    assert torch.equal(ours.segmentation_head.weight[:4], given.state["segmentation_head.weight"])
    assert "rows of axon, myelin, nucleus kept; new: wall" in result.table()


def test_classes_without_a_common_name_leave_the_head_new() -> None:
    _, given = source(CLASSIC)
    ours, untouched = network(CLASSIC), network(CLASSIC)
    result = transfer(ours, given, ("background", "vessel"), RGB)
    assert torch.equal(ours.segmentation_head.weight, untouched.segmentation_head.weight)
    assert result.moved["segmentation_head.bias"].how == "no class in common: nucleus in the source, vessel here"


@pytest.mark.parametrize(
    ("classes", "action", "how"),
    [
        (BINARY, "loaded", ""),
        (FOUR, "skipped", "classes here: 4 rows, in the source: 1, without their names"),
    ],
)
def test_classes_without_names_are_kept_where_there_are_as_many(classes: Any, action: str, how: str) -> None:
    _, given = source(CLASSIC, known=False)
    bare = Source("w.pth", given.state)
    moved = transfer(network(CLASSIC, classes), bare, classes, RGB).moved["segmentation_head.weight"]
    assert (moved.action, moved.how) == (action, how)


def test_rows_of_new_classes_are_counted_as_left_as_initialised() -> None:
    _, given = source(CLASSIC)
    result = transfer(network(CLASSIC, FOUR), given, FOUR, RGB)
    weight, bias = (result.moved[f"segmentation_head.{name}"] for name in ("weight", "bias"))
    assert (weight.fresh, weight.elements) == (2 * 4, 4 * 4)
    assert (bias.fresh, bias.elements) == (2, 4)
    share = 100 * 10 / sum(moved.elements for moved in result.moved.values())
    assert result.table().endswith(f"\nrows of 2 ({share:.2g} % of the numbers) are left as initialised.\n")
