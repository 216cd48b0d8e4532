"""Losses for label maps: a weighted sum of terms, computed in float32 over the pixels that are not ignored.

Three families, one input: pixel losses (ce, focal) average over pixels; region losses (dice, jaccard, tversky) share
one set of soft counts; lovasz sorts the errors. Of a multilabel task each label is a question of its own, present or
not, and one label gives the numbers of two classes. docs/losses.md gives the formulas.
"""

from seg_scse.losses.balance import answer_counts, class_weights, weights_text
from seg_scse.losses.compiling import compile_loss
from seg_scse.losses.segmentation import SegmentationLoss, build_loss

__all__ = [
    "SegmentationLoss",
    "answer_counts",
    "build_loss",
    "class_weights",
    "compile_loss",
    "weights_text",
]
