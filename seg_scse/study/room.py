"""The room that the checkpoints of a study take, said before its first run."""

import shutil
from pathlib import Path

import torch

from seg_scse import checkpoint
from seg_scse.config.schema import Config
from seg_scse.config.wording import counted
from seg_scse.data.sets.cards import resolve_card
from seg_scse.models import build_model
from seg_scse.study.grid import Study

_GIB = 2**30


def room(study: Study) -> list[str]:
    """Say what the checkpoints of the runs that have none yet will take, and warn where so much is not free.

    It is no refusal: calls may share the runs, and a full disk loses none.
    """
    ahead = [cell.variant for cell in study.cells() if not (cell.folder / checkpoint.LAST).exists()]
    if not ahead:
        return []
    config, declaration = study.config, study.declaration
    kept = config.trainer.save_top_k + 1
    size = {name: checkpoint_bytes(declaration.variant(name).config(config)) for name in set(ahead)}
    needed, free = kept * sum(size[name] for name in ahead), _free(study.folder)
    each = f"{counted(kept, 'checkpoint')} of about {max(1, round(max(size.values()) / 2**20))} MiB each"
    says = f"disk: {counted(len(ahead), 'run')} with {each}: {needed / _GIB:.1f} GiB; {free / _GIB:.1f} GiB are free"
    return [says if needed < free else f"warning: {says}. Free some room before they are needed."]


def checkpoint_bytes(config: Config) -> int:
    """Estimate the size of a checkpoint: weights, their average, and what the optimizer keeps for each of them."""
    data = resolve_card(config.data)
    with torch.random.fork_rng(devices=[]):
        built = build_model(config.model.without_weights(), len(data.band_names), len(data.classes), data.task)
    optimizer = config.optimizer
    moments = 2 if optimizer.name != "sgd" else int(optimizer.momentum > 0)
    copies = 1 + moments + (config.averaging.method != "none")
    return 4 * copies * sum(parameter.numel() for parameter in built.parameters())


def _free(folder: Path) -> int:
    """Return the free bytes where a folder is, or will be."""
    present = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    return shutil.disk_usage(present).free
