"""The module of docs/lightning.md works: in a stand-in of its loop; in the real one where it is installed."""

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

PAGE = Path(__file__).parents[1] / "docs" / "lightning.md"


class Module(nn.Module):
    """What a LightningModule offers to the example."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: dict[str, float] = {}

    def log(self, name: str, value: float) -> None:
        self.logged[name] = float(value)

    def log_dict(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self.log(name, float(value))


def example() -> type:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "lightning.md", "exec"), names)
    return names["Segmentation"]


def batches(count: int = 4) -> Iterator[tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]]:
    random = torch.Generator().manual_seed(0)
    for index in range(count):
        masks = torch.zeros(2, 32, 32, dtype=torch.uint8)
        masks[:, 8:24, 8:24] = 1
        images = masks[:, None].float().repeat(1, 3, 1, 1) + 0.1 * torch.randn(2, 3, 32, 32, generator=random)
        masks[:, :4] = 255
        yield images, masks, (f"a{index}", f"b{index}")


def test_the_example_learns_and_scores_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = types.ModuleType("lightning")
    stand_in.LightningModule = Module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", stand_in)
    torch.manual_seed(0)
    module = example()(lr=1e-2)
    optimizer = module.configure_optimizers()
    module.train()
    losses = []
    for number, batch in enumerate([*batches(), *batches()]):
        optimizer.zero_grad()
        loss = module.training_step(batch, number)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert losses[-1] < 0.8 * losses[0]
    assert set(module.logged) == {"loss_ce", "loss_dice"}
    module.eval()
    module.on_validation_epoch_start()
    with torch.no_grad():
        for number, batch in enumerate([*batches(), *batches(1)]):  # the last one repeats the first
            module.validation_step(batch, number)
    assert len(module.table.ids) == 8
    module.on_validation_epoch_end()
    assert 0 < module.logged["iou_pooled"] < module.logged["dice_per_image"] <= 1


@pytest.mark.filterwarnings("ignore")  # those of another library's own
def test_the_example_trains_in_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    loader = DataLoader(list(batches()), batch_size=None)
    trainer.fit(example()(), loader, loader)
    assert set(trainer.callback_metrics) >= {"dice_per_image", "loss_ce"}
