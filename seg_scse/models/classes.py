"""The rows of a network's last convolutions, one of each class, for other classes.

Rows have one of two forms. With a softmax there is one for each class, the background among them. With sigmoids there
is one for each class but the background: of two classes, or of labels that can overlap. The odds of a class k against
the background 0 are exp(z_k - z_0) by a softmax and exp(z_k) by a sigmoid. So

- sigmoid to softmax: the row of k stays, that of the background becomes 0: softmax over (0, z) is sigmoid(z);
- softmax to sigmoid: the row of k becomes z_k - z_0, the odds of k where no third class is likely.

Both are exact for two classes, and keep the odds of each class against the background for more.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from seg_scse.models.parts import part_of

_HEAD, _SUPERVISION = "segmentation_head", "supervision"


def class_tensors(model: nn.Module) -> frozenset[str]:
    """Name the tensors whose rows are classes: those of the last convolution, and of deep supervision's.

    Args:
        model: a network of `build_model`.
    """
    convolutions = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and part_of(path) == "head"
    }
    last = [path for path in convolutions if path.split(".")[0] == _HEAD][-1:]
    rows = {convolutions[path].out_channels for path in last}
    supervised = [
        path for path, module in convolutions.items() if path.startswith(_SUPERVISION) and module.out_channels in rows
    ]
    return frozenset(f"{path}.{name}" for path in (*last, *supervised) for name in convolutions[path].state_dict())


def adapt_rows(found: Tensor, own: Tensor, old: Sequence[str] | None, new: Sequence[str]) -> tuple[Tensor | None, str]:
    """Make the rows for `new` classes from those of `old` ones of the same names.

    The background, the first class of both, corresponds to the background by whatever name.

    Args:
        found: tensor (R, ...) of the source.
        own: tensor (R', ...) of the network, whose rows stay for classes that are new.
        old: the source's classes with the background; None: not known.
        new: the network's.

    Returns:
        the tensor (R', ...) and how it came about (empty: it is `found`); or None and why there is none.
    """
    if found.shape[1:] != own.shape[1:]:
        return None, f"shape {tuple(own.shape)}, but {tuple(found.shape)} in the source"
    if old is None:
        if found.shape == own.shape:
            return found, ""
        return None, f"classes here: {len(own)} rows, in the source: {len(found)}, without their names"
    if len(found) not in (len(old), len(old) - 1):
        return None, f"{len(found)} rows do not fit the source's {len(old)} classes"
    if tuple(old) == tuple(new) and found.shape == own.shape:
        return found, ""
    kept = [name for name in new[1:] if name in old[1:]]
    if not kept:
        return None, f"no class in common: {_listed(old[1:])} in the source, {_listed(new[1:])} here"
    rows, how = _filled(found, own, old, new, kept)
    fresh = new_classes(old, new)
    return rows, f"{how}{f'; new: {_listed(fresh)}' if fresh else ''}"


def new_classes(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return the classes without the background whose rows cannot come from those of `old`."""
    return [name for name in new[1:] if name not in old[1:]]


def _filled(
    found: Tensor, own: Tensor, old: Sequence[str], new: Sequence[str], kept: Sequence[str]
) -> tuple[Tensor, str]:
    """Return `own` with the rows of the background and of the kept classes, and how they were made."""
    from_softmax, to_softmax = len(found) == len(old), len(own) == len(new)
    rows, kept_text = own.clone(), f"rows of {_listed(kept)}"
    if to_softmax:
        rows[0] = found[0] if from_softmax else 0.0
    for name in kept:
        source = found[list(old).index(name) - (not from_softmax)]
        odds = source - found[0] if from_softmax and not to_softmax else source
        rows[list(new).index(name) - (not to_softmax)] = odds
    if from_softmax and not to_softmax:
        return rows, f"{kept_text} minus the background's (softmax to sigmoid)"
    if to_softmax and not from_softmax:
        return rows, f"{kept_text} kept, background 0 (sigmoid to softmax)"
    return rows, f"{kept_text} kept"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
