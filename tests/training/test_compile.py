from pathlib import Path

import pytest
import torch

from seg_scse.config import load_config
from seg_scse.training import run


def test_the_part_of_the_network_that_is_asked_for_is_compiled(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(type(self).__name__))
    for part in ("none", "gates", "network"):
        config = load_config(None, [*tiny, f"trainer.compile={part}", "trainer.max_steps=1"])
        run.start(config, tmp_path / part, lambda _: {})
    assert compiled == ["SCSE"] * 5 + ["Unet"]
