"""Pages about an evaluation whose gates were replaced by their means say so wherever scores are quoted."""

import json
from pathlib import Path

from seg_scse.report import measured, results_table
from seg_scse.report.citation import citation
from seg_scse.report.per_image import read_per_image
from seg_scse.report.reading import Results, read_results

PROTOCOL = {"resolution": "original", "empty": "exclude", "threshold": 0.5, "ignore_index": 255}
SENTENCE = (
    "Every gate was replaced by its mean over training images, so that none looked at the image that was predicted. "
    "These are not the scores of the network as it was trained."
)


def facts(folder: Path, results: Results) -> dict[str, str]:
    return dict(measured.what_was_measured(results, read_per_image(folder / "per_image.csv", results)))


def test_frozen_gates_are_a_caution_a_fact_and_part_of_the_citation(make_run) -> None:
    folder = make_run(protocol={**PROTOCOL, "gates": "mean"})
    results = read_results(folder / "results.json")
    assert measured.cautions(results)[0] == SENTENCE
    assert facts(folder, results)["Gates"] == SENTENCE
    assert "each gate at its mean over training images; " in citation(results)
    said = " ".join(results_table(json.loads((folder / "results.json").read_text())).split())
    assert "resolution, threshold 0.5; each gate at its mean over training images; checkpoints/best.ckpt" in said


def test_a_networks_own_gates_are_not_mentioned(make_run) -> None:
    folder = make_run(protocol=PROTOCOL)
    results = read_results(folder / "results.json")
    assert SENTENCE not in measured.cautions(results)
    assert "Gates" not in facts(folder, results)
    assert "each gate" not in citation(results)
