import json
from pathlib import Path

import pytest

from seg_scse.cli import main

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_quickstart_reaches_the_score_the_readme_promises(tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "quickstart.yaml")
    assert main(["train", "--config", config, "--out", str(tmp_path / "run"), "--evaluate", "test"]) == 0
    results = json.loads((tmp_path / "run" / "evaluation" / "test" / "results.json").read_text())
    assert results["images"] == 20
    assert results["scores"]["dice_per_image"]["foreground"] >= 0.85
    assert results["cases"]["round"]["empty"] == 1, "the policy for empty masks must show"
