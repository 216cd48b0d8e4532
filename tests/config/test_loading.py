import itertools
import json
from pathlib import Path

import pytest

from seg_scse.config import Config, json_schema, load_config, to_yaml
from seg_scse.config.attention import Strict
from seg_scse.config.loading import override
from seg_scse.errors import ConfigError


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


def test_all_problems_are_reported_at_once_with_line_range_and_nearest_name(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: x\ntrainer:\n  crop: 250\n  max_epoch: 3\noptimizer:\n  name: adamx\nmodle: {a: 1}\n",
    )
    text = refusal(path, ("trainer.repeats=yes",))
    assert "5 problems" in text
    assert f"{path}:3: trainer.crop = 250: must be a multiple of 32" in text
    assert f"{path}:4: unknown key `trainer.max_epoch`; did you mean `max_epochs`?" in text
    assert f"{path}:6: optimizer.name = 'adamx'" in text
    assert "did you mean `adam`?" in text
    assert f"{path}:7: unknown key `modle`; did you mean `model`?" in text
    assert "command line: trainer.repeats = 'yes': must be a valid integer" in text


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "0.0001", "1.0e-4", ".0001"])
def test_scientific_notation_is_a_number(tmp_path: Path, text: str) -> None:
    assert load_config(write(tmp_path, f"optimizer: {{lr: {text}}}")).optimizer.lr == 1e-4
    assert load_config(None, [f"optimizer.lr={text}"]).optimizer.lr == 1e-4


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("optimizer: {lr: true}", "must be a valid number"),
        ("optimizer: {lr: .nan}", "optimizer.lr = nan"),
        ("optimizer: {lr: .inf}", "finite"),
        ("optimizer: {lr: 0}", "must be greater than 0"),
        ("optimizer: {lr: null}", "optimizer.lr = None"),
        ("trainer: {repeats: 2.0}", "must be a valid integer"),
        ("trainer: {batch_size: 2.0}", "trainer.batch_size: 2.0 must be `auto` or a whole number from 1"),
        ("trainer: {batch_size: 0}", "0 must be `auto`"),
        ("finetune: {unfreeze_epoch: 2}", "freeze is empty"),
        ("finetune: {freeze: [encoder]}", "would freeze random weights"),
        ("finetune: {freeze: [encoder, decoder, head, gates], source: x}", "nothing would be trained"),
        ("finetune: {source: runs/a}\nmodel: {weights: a.safetensors}", "both set"),
        ("loss: {class_balance: inverse, class_weights: [1.0, 2.0]}", "give one of them"),
        ("augmentation: {mix: mixup, mix_share: 1}\ntrainer: {hard_share: 0.5}", "hard_share = 0.5 changes nothing"),
        ("trainer: {tensorboard: off}", "must be a valid boolean"),
        ("seed: -1", "must be greater than or equal to 0"),
        ("trainer: 3", "trainer = 3"),
        ("name: ../escape", "name = '../escape'"),
        ("data: {classes: [a]}", "at least two are needed"),
        ("data: {classes: [a, a]}", "names must differ"),
        (
            "data: {split: {train: 0.9}}",
            "the shares must sum to 1, such as data.split: {train: 0.9, val: 0.05, test: 0.05}",
        ),
        (
            "data: {masks: 'masks/{class}'}",
            "mask.encoding=index has one file for all: write `data.mask: {encoding: files}`",
        ),
        ("data: {mask: {encoding: files}}", "write where the file of a class is, such as `data.masks: masks/{class}`"),
        ("data: {split: {val: 0.2}}", "such as data.split: {train: 0.65, val: 0.2, test: 0.15} (of data that come"),
        ("data: {split: {train: 0.9, val: 0.2, test: 0.2}}", "train + val + test = 1.3: the shares must sum to 1"),
        ("data: {split: {val: 0.95}}", "train + val + test = 1.8: the shares must sum to 1"),
        ("data: {split: {folds: 3, val: 1.0}}", "val = 1 is the share of what is not the test fold"),
        ("data: {mask: {values: {0: 0, 255: 7}}}", "maps to class 7, but there are only 2"),
        ("data: {classes: [a, b, c], mask: {encoding: binary}}", "gives two classes, but classes names 3"),
        ("loss: {class_weights: [1.0, -2.0]}", "must be greater than or equal to 0"),
        ("loss: {terms: {}}", "name at least one loss"),
        ("loss: {terms: {bce: 1.0}}", "loss.terms"),
    ],
)
def test_wrong_value_is_refused_by_name(tmp_path: Path, line: str, part: str) -> None:
    text = refusal(write(tmp_path, line))
    assert part in text
    assert "a.yaml:1" in text


def test_colours_may_be_written_in_upper_case(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {mask: {encoding: colours, colours: {'#000000': 0, '#FF00aB': 1}}}")
    assert load_config(path).data.mask.colours == {"#000000": 0, "#ff00ab": 1}
    path = write(tmp_path, "data: {mask: {encoding: colours, colours: {'#FF0000': 0, '#ff0000': 1}}}")
    assert "data.mask.colours: a colour is given twice, in upper and in lower case: keep one" in refusal(path)


def test_labels_that_are_numbers_are_names(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {mask: {encoding: polygons, labels: {1: 1, car: 1}}}")
    assert load_config(path).data.mask.labels == {"1": 1, "car": 1}
    assert "data.mask.labels.1.[key] = True: must be a valid string" in refusal(
        write(tmp_path, "data: {mask: {encoding: polygons, labels: {true: 1}}}")
    )
    assert "data.exclude.1.[key] = 1: must be a valid string" in refusal(write(tmp_path, "data: {exclude: {1: bad}}"))


@pytest.mark.parametrize("other", ["data.split.folds=3", "data.split.file=splits.csv"])
def test_val_stands_alone_where_train_and_test_mean_nothing(other: str) -> None:
    assert load_config(None, [other, "data.split.val=0.2"]).data.split.val == 0.2


def test_duplicate_key_is_refused_with_both_lines(tmp_path: Path) -> None:
    text = refusal(write(tmp_path, "trainer:\n  crop: 64\n  crop: 32\n"))
    assert "a.yaml:3: key `crop` is given twice (first in line 2)" in text


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("a: !!python/object/apply:os.system [echo]", "is not allowed"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("data: {mask: {colours: {#ff0000: 1}}}", "Quote the colours: '#ff0000'"),
        ("# {#ff0000: 1}\na: [1", "stream end>'."),
        ("data:\n  mask: {values: {0:0, 255:1}}", "a.yaml:2: `0:0` lacks a blank after the colon"),
        ("- 1\n- 2", "must hold `key: value` lines"),
        ("a: [1", "not valid YAML"),
        ("? [1, 2]\n: 3", "a key must be a word"),
        ("[" * 5000, "too deeply"),
        ('data:\n  cache: "a\\0b"', r"a.yaml:2: 'a\x00b' holds a character that no file name can hold"),
        ('data:\n  root: "\\uD800"', "a.yaml:2: '\\ud800' holds a character that no file name"),
        ("name: a\0b", "a.yaml: not valid YAML: unacceptable character #x0000"),
        ("# " + "x" * 1_000_001, "too large"),
    ],
)
def test_unsafe_or_malformed_yaml_is_refused(tmp_path: Path, content: str, part: str) -> None:
    assert part in refusal(write(tmp_path, content))


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert "nowhere.yaml: cannot be read" in refusal(tmp_path / "nowhere.yaml")


def test_base_is_merged_by_section_and_values_replace(tmp_path: Path) -> None:
    write(tmp_path, "trainer: {crop: 64, batch_size: 2}\nloss: {terms: {ce: 1.0, dice: 1.0}}\n", "base.yaml")
    path = write(tmp_path, "base: base.yaml\ntrainer: {crop: 96}\nloss: {terms: {focal: 2.0}}\n")
    config = load_config(path, ["trainer.batch_size=4"])
    assert (config.trainer.crop, config.trainer.batch_size) == (96, 4)
    assert config.loss.terms == {"focal": 2.0}, "a mapping that is a value is replaced, not merged"


def test_base_in_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "base: a.yaml\n", "b.yaml")
    assert "circle" in refusal(write(tmp_path, "base: b.yaml\n"))


@pytest.mark.parametrize("text", ["trainer.crop", "=3", "trainer..crop=64", "trainer={crop: 64}"])
def test_malformed_override_is_refused(text: str) -> None:
    assert "override" in refusal(None, (text,))


def test_printed_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = load_config(
        None,
        [
            "data.mask.values={0: 0, 128: 1, 255: 255}",
            "optimizer.lr=1e-5",
            "data.exclude={'a: b': 'c, #d', '089': bad, '1e5': 'yes', '010': 'null'}",
            "data.classes=['08', '1e3']",
            "name=1e5",
        ],
    )
    text = to_yaml(config, {"trainer.crop": "two\nlines", "data.mask": "section"}, "header")
    assert "  # two\n  # lines\n  crop:" in text
    assert load_config(write(tmp_path, text)) == config


def test_text_on_the_command_line_needs_no_quotes() -> None:
    config = load_config(None, ["data.images={split}/images", r"data.split.group=[0-9]+_(\d+)", "data.root=2018"])
    assert config.data.images == "{split}/images"
    assert config.data.split.group == r"[0-9]+_(\d+)"
    assert config.data.root == "2018"
    assert load_config(None, ["data.root=null"]).data.root is None


def test_a_part_of_a_value_cannot_be_overridden_and_the_original_does_not_change() -> None:
    config = load_config(None, ["loss.terms={ce: 1.0, dice: 1.0}"])
    with pytest.raises(ConfigError, match=r"`loss\.terms` is one value: override it as a whole"):
        override(config, ["loss.terms.dice=9"])
    override(config, ["seed=1"]).loss.terms["dice"] = 9
    assert config.loss.terms == {"ce": 1.0, "dice": 1.0}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("trainer=5", "this is a section, set its keys: trainer.max_epochs"),
        ("model.attention.sites=decoder", "must be a list, such as [decoder]"),
        ("data.classes=[a]", "command line: data: classes"),
        ("data.classes=[a, foreground, b]", "is the name of the mean"),
        ("data.mask.colours={#000000: 0}", "Quote the colours: '#000000'; without quotes, # begins a comment."),
        ("data.mask.colours={'#00ff00': 1, #000000: 0}", "Quote the colours: '#000000'"),
        ("data.mask.colours=#000000", "`#000000` is a comment in YAML. Quote it: '#000000'."),
        ("data.mask.values={0:0,255:1}", "data.mask.values:1: `0:0` lacks a blank after the colon: write `0: 0`."),
    ],
)
def test_wrong_override_is_explained(text: str, part: str) -> None:
    assert part in refusal(None, (text,))


def test_override_keeps_what_was_set_and_checks_the_rest() -> None:
    config = load_config(None, ["trainer.crop=64"])
    changed = override(config, ["trainer.batch_size=3"])
    assert (changed.trainer.crop, changed.trainer.batch_size) == (64, 3)
    assert changed.trainer.model_fields_set == {"crop", "batch_size"}
    with pytest.raises(ConfigError, match=r"trainer\.crop = 65"):
        override(config, ["trainer.crop=65"])


def keys(model: type[Strict], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Strict):
            found += keys(field.annotation, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def test_every_key_survives_a_fuzz_of_values_without_another_error() -> None:
    values = ["null", "''", "-1", "0", "1e-4", "no", ".inf", ".nan", "[]", "{}", "[{}]", "word", "1e400", "{a: {b: c}}"]
    messages = []
    for key, value in itertools.product(keys(Config), values):
        try:
            load_config(None, [f"{key}={value}"])
        except ConfigError as error:
            messages.append((key.split(".")[0], str(error)))
    assert len(messages) > 300
    assert all(section in text for section, text in messages)


def test_every_key_is_described() -> None:
    schema = json.loads(json_schema())
    for definition in [schema, *schema["$defs"].values()]:
        for name, field in definition["properties"].items():
            if "$ref" not in field and name not in ("name", "seed", "base"):
                assert field.get("description"), name
    assert "base" in schema["properties"]
