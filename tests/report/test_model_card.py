"""The model card: metadata that the Hub reads, scores as they were measured, and nothing that is not known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError, DataError
from seg_scse.report.model_card import About, model_card

from .drawn_evaluation import CHECKPOINT

Run = Callable[..., Path]

FACTS: dict[str, Any] = {
    "mean": [0.25, 0.5, 0.75],
    "std": [0.1, 0.2, 0.3],
    "scale": None,
    "tile": 128,
    "overlap": 0.25,
    "threshold": 0.5,
    "weights": {"file": "model.safetensors", "sha256": "e" * 64},
    "checkpoint": CHECKPOINT,
    "data_digest": "f" * 64,
    "versions": {"seg-scse": "9.8.7"},
}


def config_of(classes: tuple[str, ...] = ("background", "nucleus"), **changes: Any) -> Config:
    settings = {"name": "drawn", "data": {"classes": classes}, "model": {"attention": {"type": "scse"}}}
    return Config.model_validate(settings | changes)


def card_of(
    evaluated: Path, config: Config | None = None, about: About | None = None, run: Path | None = None, **facts: Any
) -> ModelCard:
    text = model_card(
        config or config_of(), FACTS | facts, {"train": 20, "val": 5, "test": 6}, run, evaluated, about or About()
    )
    return ModelCard(text)


def section(card: ModelCard, title: str) -> str:
    return str(card.text).split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> dict[str, list[str]]:
    """Rows of Markdown tables by their first cell."""
    cells = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    return {row[0]: row[1:] for row in cells}


def write_facts(run: Path, **changes: Any) -> Path:
    gate = {"site": "decoder.1", "module": "x", "type": "scse", "channels": 256, "hidden": 128, "parameters": 66177}
    facts = {
        "created": "2026-01-02T03:04:05+00:00",
        "host": "the-host",
        "command": ["train.py", "/data/somebody/config.yaml"],
        "device": "cpu",
        "precision": "fp32",
        "processes": 2,
        "git": {"commit": "abc123", "clean": False},
        "versions": {"seg-scse": "0.1.0", "torch": "2.9.0"},
        "model": {"parameters": 14417040, "gates": [gate]},
    }
    run.mkdir(exist_ok=True)
    (run / "run.json").write_text(json.dumps(facts | changes))
    return run


def test_the_metadata_are_those_of_the_hub(make_run: Run) -> None:
    card = card_of(make_run(), about=About("cc-by-4.0", "A. Name", "somebody/cells"))
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "seg-scse"
    assert card.data.pipeline_tag == "image-segmentation"
    assert {"image-segmentation", "attention", "scse"} <= set(card.data.tags)
    assert card.data.datasets == ["somebody/cells"]
    assert card.data.metrics == ["dice", "iou"]
    assert card.data.model_name == "drawn"


def test_the_results_of_the_index_are_those_of_the_evaluation(make_run: Run) -> None:
    folder = make_run()
    results = json.loads((folder / "results.json").read_text())
    found = {result.metric_config: result for result in card_of(folder).data.eval_results}
    for key in ("dice_per_image", "iou_pooled", "hd95_per_image"):
        assert found[key].metric_value == results["scores"][key]["foreground"]
        assert found[key].metric_args["interval_low"] == results["intervals"][key]["foreground"][0]
        assert found[key].metric_args["n"] == 6
        assert found[key].task_type == "image-segmentation"
        assert found[key].dataset_split == "test"
    assert found["dice_per_image"].metric_type == "dice"
    assert found["dice_per_image"].dataset_name == "drawn discs"


def test_the_tables_hold_every_score_with_its_interval_and_definition(make_run: Run) -> None:
    folder = make_run(classes=["background", "round", "long"])
    results = json.loads((folder / "results.json").read_text())
    text = section(card_of(folder, config_of(("background", "round", "long"))), "Evaluation")
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines.index("|---|---|---|---|") < lines.index("- Dice: 2 tp / (2 tp + fp + fn).")
    for key, label in (("dice_per_image", "Dice | per image"), ("iou_pooled", "IoU | pooled")):
        value, (low, high) = (results[part][key]["foreground"] for part in ("scores", "intervals"))
        assert f"| {label} | {value:.4f} | {low:.4f} to {high:.4f} |" in lines
    headings = ["Dice, per image", "Dice, pooled", "IoU, per image", "HD95 (px), per image", "NSD, per image"]
    assert rows(text)["class"] == headings
    for name in ("round", "long"):
        value, (low, high) = (results[part]["dice_per_image"][name] for part in ("scores", "intervals"))
        assert rows(text)[name][0] == f"{value:.4f} ({low:.4f} to {high:.4f})"
        assert rows(text)[name][3].startswith(f"{results['scores']['hd95_per_image'][name]:.2f} (")
    assert "Foreground is the mean over the 2 classes other than background." in text
    assert "95 % intervals of the bias-corrected and accelerated (BCa) bootstrap" in text
    assert "NSD: the share within 2 px" in text
    assert "left out of the mean" in text


def test_one_class_has_no_table_of_classes(make_run: Run) -> None:
    text = section(card_of(make_run()), "Evaluation")
    assert "class" not in rows(text)
    assert "A pixel is foreground where its predicted probability is above 0.5 (from the configuration)." in text


def test_the_limitations_are_those_of_the_scores(make_run: Run) -> None:
    folder = make_run(classes=["background", "round", "long"], ids=[f"i{i}" for i in range(12)])
    text = section(card_of(folder, config_of(("background", "round", "long"))), "Limitations")
    table = (folder / "per_image.csv").read_text().splitlines()
    place = table[0].split(",").index("dice_foreground")
    scores = [float(row.split(",")[place]) for row in table[1:]]
    poor = sum(score < 0.5 for score in scores)
    assert 0 < poor < 12
    assert f"- {poor} of 12 images have a foreground Dice below 0.5; the lowest is {min(scores):.4f}" in text
    assert "- long: 1 of 12 images have it in neither truth nor prediction." in text
    low, high = json.loads((folder / "results.json").read_text())["intervals"]["dice_per_image"]["foreground"]
    assert (
        f"With 12 images scored, the 95% interval of the foreground Dice per image is {low:.3f} to {high:.3f}" in text
    )
    assert "another camera, place, patient group or season" in text


def test_what_only_the_evaluation_did_is_said(make_run: Run) -> None:
    folder = make_run()
    results = json.loads((folder / "results.json").read_text())
    results["protocol"] |= {"threshold": 0.43, "threshold_from": "val: dice_per_image, n = 5", "tta": "d4"}
    results["protocol"]["scales"] = [0.75, 1.0]
    results["data"]["same_as_training"] = False
    (folder / "results.json").write_text(json.dumps(results))
    text = section(card_of(folder), "Limitations")
    assert "Scored at the threshold 0.43 (val: dice\\_per\\_image, n = 5); predict uses 0.5." in text
    assert "Scored with test-time augmentation (d4); predict uses none." in text
    assert "Scored as the mean over tiles at 0.75, 1 times their size; predict uses one size." in text
    assert "not those that the network was trained with" in text


def test_without_an_evaluation_nothing_is_claimed(tmp_path: Path) -> None:
    card = card_of(tmp_path / "evaluation" / "test")
    assert card.data.eval_results is None
    assert card.data.metrics is None
    assert "Unknown: these weights were not evaluated on the test split." in section(card, "Evaluation")
    assert "`python evaluate.py RUN --split test` scores them" in section(card, "Evaluation")
    assert "How well the network works is unknown" in section(card, "Limitations")


def test_scores_of_other_weights_are_left_out(make_run: Run) -> None:
    card = card_of(make_run(), checkpoint={**CHECKPOINT, "sha256": "0" * 64})
    assert card.data.eval_results is None
    assert "Unknown: the evaluation on the test split that was found is of other weights." in section(
        card, "Evaluation"
    )


def test_an_evaluation_of_an_earlier_format_is_refused(make_run: Run) -> None:
    folder = make_run(format=1)
    with pytest.raises(DataError, match="is of format 1"):
        card_of(folder)


def test_what_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    card = card_of(tmp_path)
    assert card.data.license == "unknown"
    assert "Published by: unknown. License of the weights: unknown." in card.text
    assert "Origin and license of the training data: unknown" in section(card, "Training data")
    provenance = rows(section(card, "Provenance"))
    assert provenance["Trained with"] == provenance["Source revision"] == provenance["Training started"] == ["unknown"]
    assert rows(section(card, "Training"))["Computed on"] == ["unknown, unknown"]
    assert "scse at the sites decoder" in section(card, "Attention gates")


def test_the_facts_of_the_run_are_in_it_and_those_of_the_machine_are_not(tmp_path: Path) -> None:
    card = card_of(tmp_path, run=write_facts(tmp_path / "run"))
    provenance = rows(section(card, "Provenance"))
    assert provenance["Trained with"] == ["seg-scse 0.1.0, torch 2.9.0"]
    assert provenance["Source revision"] == ["abc123 with changes"]
    assert provenance["Checkpoint (SHA-256)"] == [CHECKPOINT["sha256"]]
    assert rows(section(card, "Attention gates"))["decoder.1"] == ["scse", "256", "128", "66177"]
    training = rows(section(card, "Training"))
    assert training["Batches"] == ["8 crops of 256 x 256 px (placed: random), 2 processes"]
    assert training["Loss"] == ["1 ce + 1 dice"]
    assert training["Weights"] == ["after epoch 12, step 800"]
    assert "the-host" not in card.content
    assert "somebody" not in card.content


def test_the_card_of_the_data_set_tells_license_and_defects(tmp_path: Path) -> None:
    config = Config.model_validate({"name": "drawn", "data": {"card": "amazon_forest"}})
    text = section(card_of(tmp_path, config), "Training data")
    found = rows(text)
    assert found["License of the data"][0].startswith("said to be CC BY 4.0 (unconfirmed)")
    assert found["Source"] == ["<https://zenodo.org/records/3233081>"]
    assert "20 images for training, 5 for validation, 6 for the test" in text
    assert "- Palette masks with the indices 1" in text


def test_scores_on_other_data_are_not_those_of_the_training_data(make_run: Run) -> None:
    folder, config = make_run(), Config.model_validate({"name": "drawn", "data": {"card": "amazon_forest"}})
    names = []
    for same in (True, False):
        results = json.loads((folder / "results.json").read_text())
        results["data"]["same_as_training"] = same
        (folder / "results.json").write_text(json.dumps(results))
        (first, *_) = card_of(folder, config, About(dataset="somebody/forest")).data.eval_results
        names.append((first.dataset_name.split(",")[0], first.dataset_type))
    assert names == [("Amazon rainforest", "somebody/forest"), ("drawn discs", "unknown")]


def test_bands_and_ranges_are_named(tmp_path: Path) -> None:
    config = config_of(data={"bands": ["nir", "swir", "dem"], "scale": {"method": "percentile"}})
    card = card_of(tmp_path, config, scale={"low": [0, 10, 20.5], "high": [1000, 2000, 3000]})
    images = rows(section(card, "Images"))
    assert images["Bands, in order"] == ["nir, swir, dem"]
    assert images["Values"] == ["nir 0 to 1000; swir 10 to 2000; dem 20.5 to 3000 become 0 to 1"]
    assert images["Standardisation (mean, deviation)"] == ["nir 0.25, 0.1; swir 0.5, 0.2; dem 0.75, 0.3"]


def test_labels_are_bits(tmp_path: Path, make_run: Run) -> None:
    classes = ("none", "lung", "heart")
    config = config_of(data={"classes": classes, "task": "multilabel", "mask": {"encoding": "bands"}})
    card = card_of(make_run(classes=list(classes), task="multilabel"), config)
    assert rows(section(card, "Classes")) == {"bit": ["label"], "---": ["---"], "1": ["lung"], "2": ["heart"]}
    assert "marks lung and heart, any number of which a pixel may be" in card.text
    assert "above the probability 0.5" in section(card, "Classes")


def test_names_make_neither_tables_nor_tags_nor_metadata(make_run: Run) -> None:
    names = ["a|b", "<script>x</script>", "*[c](d)*"]
    card = card_of(make_run(classes=names), config_of(tuple(names)), About("mit", "eve\n---\nlicense: other"))
    assert "<script>" not in card.content
    assert "a\\|b" in card.text
    assert "\\*\\[c\\](d)\\*" in card.text
    assert card.data.license == "mit"
    assert yaml.safe_load(card.content.split("\n---\n")[0].removeprefix("---\n"))["license"] == "mit"
    assert "eve\\\\n---\\\\nlicense: other" in card.text


def test_a_network_without_gates_says_so(tmp_path: Path) -> None:
    card = card_of(tmp_path, config_of(model={"attention": {"type": "none"}}))
    assert section(card, "Attention gates").strip() == "None."
    assert "attention" not in card.data.tags


def test_the_file_of_start_weights_is_not_named(tmp_path: Path) -> None:
    for model, words in (
        ({"weights": "/data/somebody/a.safetensors"}, "a network trained before"),
        ({"encoder_weights": "/data/somebody/a.safetensors"}, "weights of the encoder from a file"),
        ({"encoder_weights": "imagenet"}, "imagenet"),
        ({}, "random weights"),
    ):
        assert rows(section(card_of(tmp_path, config_of(model=model)), "Training"))["Start"] == [words]


def test_a_license_is_an_identifier() -> None:
    with pytest.raises(ConfigError, match="license 'My License' is no identifier of the Hugging Face Hub"):
        About("My License")
