"""The model card: what a network is, how to use it, and what is known about it, for the Hugging Face Hub.

What is not known is said to be unknown. Paths and the name of the machine are left out: a card is for everybody.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from seg_scse.config.schema import Config
from seg_scse.data.sets.cards import Card, load_card
from seg_scse.errors import ConfigError, SegScseError
from seg_scse.report.headings import AVERAGING, MEASURES
from seg_scse.report.model_facts import limitations, what_it_sees
from seg_scse.report.model_scores import measured, scores
from seg_scse.report.precision import unit_of
from seg_scse.report.reading import FOREGROUND, Results, read_results, visible
from seg_scse.report.training_facts import RunFiles, training_facts
from seg_scse.report.wording import count, joined

LIBRARY = "seg-scse"
_TAGS = ("image-segmentation", "semantic-segmentation", "pytorch", "segmentation-models-pytorch")
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.-]*")
_ADDRESS = re.compile(r"https?://[\w.~:/?#@!$&'()*+,;=%-]+")
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class About:
    """What only the person who publishes a network can say; None is written as unknown.

    Attributes:
        license: identifier of the Hub, such as `mit`, or `other`.
        author: who publishes it.
        dataset: id of the training data on the Hub.
    """

    license: str | None = None
    author: str | None = None
    dataset: str | None = None

    def __post_init__(self) -> None:
        if self.license is not None and not _IDENTIFIER.fullmatch(self.license):
            raise ConfigError(
                f"license {self.license!r} is no identifier of the Hugging Face Hub: write one such as mit, apache-2.0 "
                "or cc-by-4.0, or other."
            )


def model_card(
    config: Config,
    facts: Mapping[str, Any],
    samples: Mapping[str, int],
    run: Path | None,
    evaluated: Path,
    about: About,
) -> str:
    """Write the card of a network.

    Args:
        config: of its training.
        facts: what `config.json` says about it.
        samples: images of each split of its training.
        run: its run folder, where there is one.
        evaluated: folder of its evaluation, which need not exist.
        about: what the person who publishes it says.

    Returns:
        Markdown with the metadata of the Hub in front.

    Raises:
        DataError: the evaluation is damaged, or of an earlier format.
    """
    found = read_results(evaluated / "results.json") if (evaluated / "results.json").is_file() else None
    results = found if found is not None and _is_of(found, facts) else None
    card, files, at = _data_card(config), RunFiles.of(run), facts["checkpoint"]
    template = _templates().get_template("model_card.md")
    body = template.render(
        about=about,
        card=card,
        config=config,
        facts=facts,
        samples=samples,
        trained=files.told,
        training=training_facts(config, (at["epoch"], at["step"]), files),
        split=evaluated.name,
        other=found is not None and results is None,
        results=results,
        scores=None if results is None else scores(results),
        limitations=[] if results is None else limitations(results, facts, evaluated),
        **_words(config, facts),
    )
    return f"---\n{_metadata(config, results, card, about)}\n---\n{body}"


def _words(config: Config, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What network and images are."""
    return {
        "label": config.model.label,
        "does": _sentence(config),
        "bands": count(len(config.data.band_names), "band"),
        "sees": what_it_sees(config, facts),
    }


def _templates() -> Environment:
    """Templates of Markdown: every value is escaped, so that no name can make a table, a link or a tag."""
    made = Environment(  # noqa: S701 - `finalize` escapes, for Markdown and HTML
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        finalize=_escaped,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["linked"] = _linked
    return made


class _Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def _linked(text: str) -> str:
    """A plain address becomes a link; anything else stays text."""
    return _Markdown(f"<{text}>") if _ADDRESS.fullmatch(text) else text


def _escaped(value: object) -> str:
    if isinstance(value, _Markdown):
        return value
    if value is None:
        return "unknown"
    return _SPECIAL.sub(r"\\\1", visible(str(value)).translate(_HTML))


def _is_of(results: Results, facts: Mapping[str, Any]) -> bool:
    """Tell whether an evaluation is of these weights."""
    return results.checkpoint is not None and results.checkpoint.sha256 == facts["checkpoint"]["sha256"]


def _data_card(config: Config) -> Card | None:
    if config.data.card is None:
        return None
    try:
        return load_card(config.data.card)
    except SegScseError:  # a card of somebody's own that is no longer where it was
        return None


def _sentence(config: Config) -> str:
    """What the network does, in a few words."""
    classes = config.data.classes
    if config.data.task == "multilabel":
        return f"marks {joined(classes[1:])}, any number of which a pixel may be"
    if len(classes) == 2:
        return f"tells {classes[1]} from {classes[0]}"
    return f"gives each pixel one of {len(classes)} classes: {joined(classes)}"


def _metadata(config: Config, results: Results | None, card: Card | None, about: About) -> str:
    """The metadata of the Hub, in YAML."""
    gates = config.model.attention.type
    made = ModelCardData(
        license=about.license or "unknown",
        library_name=LIBRARY,
        pipeline_tag="image-segmentation",
        tags=[*_TAGS, *([] if gates == "none" else ["attention", gates])],
        datasets=[about.dataset] if about.dataset else None,
        metrics=["dice", "iou"] if results else None,
        model_name=config.name if results else None,
        eval_results=_indexed(results, card, about) if results else None,
    )
    text: str = made.to_yaml()
    return text.rstrip("\n")


def _indexed(results: Results, card: Card | None, about: About) -> list[EvalResult]:
    """The foreground scores in the form of `model-index`; those that are not available are left out."""
    own, unit = results.data.same_as_training is True, unit_of(results)
    return [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=(about.dataset if own else None) or "unknown",
            dataset_name=card.title if card and own else results.data.name or "unknown",
            dataset_split=results.split,
            metric_type=metric,
            metric_value=results.score(key),
            metric_name=f"{MEASURES[metric].heading(unit)}, {AVERAGING[averaging].lower()}, {FOREGROUND}",
            metric_config=key,
            metric_args=_args(results, key),
        )
        for metric, averaging, key in measured(results)
        if results.score(key) is not None
    ]


def _args(results: Results, key: str) -> dict[str, Any]:
    made: dict[str, Any] = {"images": results.images, "empty": results.protocol.empty}
    interval, bootstrap = results.interval(key), results.bootstrap
    if interval is not None and bootstrap is not None:
        made |= {
            "interval_low": interval[0],
            "interval_high": interval[1],
            "level": bootstrap.level,
            "method": bootstrap.method,
            "n": bootstrap.n,
        }
    return made
