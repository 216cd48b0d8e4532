"""The commands of `seg-scse data`: each returns what `--json` prints.

Nothing heavy is imported before it is needed, so that `--help` answers at once.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_scse.cli.options import Result
from seg_scse.cli.tables import aligned
from seg_scse.config.loading import load_config, nearest
from seg_scse.errors import ConfigError

if TYPE_CHECKING:
    from seg_scse.config.schema import Config, DataConfig
    from seg_scse.data.listing.splits import Presence
    from seg_scse.data.samples import Sample
    from seg_scse.data.sets.cards import Card

_LICENCE = 28  # columns


def _refuse_overrides(options: argparse.Namespace, command: str) -> None:
    if options.overrides:
        raise ConfigError(f"`{options.overrides[0]}`: `data {command}` takes no overrides.")


def list_cards(options: argparse.Namespace) -> Result:
    """List the data sets with a card, and which of them are there."""
    _refuse_overrides(options, "list")
    from seg_scse.data.sets.cards import known_cards, load_card
    from seg_scse.data.sets.fetching import state

    rows = [_facts(name, load_card(name)) for name in sorted(known_cards())]
    for row in rows:
        if options.root is not None:
            row["state"] = state(row["name"], options.root.expanduser())
    shown = [{**row, "licence": _short(load_card(row["name"]).licence_brief)} for row in rows]
    print(aligned([[key for key in shown[0] if key != "title"], *([*_but_title(row)] for row in shown)]))
    print("\nget one: seg-scse data prepare NAME --root DIR      what is known about it: its card.yaml and README.md")
    return {"cards": rows}


def _but_title(row: Mapping[str, Any]) -> list[Any]:
    return [value for key, value in row.items() if key != "title"]


def _short(text: str) -> str:
    return text if len(text) <= _LICENCE else f"{text[: _LICENCE - 3].rstrip()}..."


def _facts(name: str, card: "Card") -> dict[str, Any]:
    from seg_scse.config.schema import DataConfig

    data = DataConfig.model_validate(card.data)
    return {
        "name": name,
        "images": card.images,
        "classes": len(data.classes),
        "bands": len(data.band_names),
        "task": data.task,
        "licence": card.licence,
        "get": card.access,
        "title": card.title,
    }


def prepare(options: argparse.Namespace) -> Result:
    """Get a public data set ready, and say how to train with it."""
    _refuse_overrides(options, "prepare")
    from seg_scse.data.sets.cards import known_cards
    from seg_scse.data.sets.download import Patience
    from seg_scse.data.sets.fetching import prepare as get_ready

    known = known_cards()
    if options.name not in known and not Path(options.name).expanduser().is_file():
        hint = nearest(options.name, known) or "."
        raise ConfigError(f"no card `{options.name}`{hint} Known: {', '.join(sorted(known))}; or the path of a card.")
    archives = [Path(text) for text in options.archive or ()]
    patience = Patience(timeout=float(options.timeout))
    ready = get_ready(options.name, options.root, archives, not options.no_download, patience)
    for note in ready.notes:
        print(f"note: {note}")
    section = {"card": ready.card} | ({} if ready.root is None else {"root": str(ready.root)})
    print(_how_to_go_on(section, ready.how, ready.splits))
    return {"card": ready.card, "how": ready.how, "splits": ready.splits, "notes": list(ready.notes), "data": section}


def _how_to_go_on(section: Mapping[str, str], how: str, splits: Mapping[str, int]) -> str:
    import yaml

    lines = yaml.safe_dump({"data": dict(section)}, sort_keys=False, allow_unicode=True).splitlines()
    overrides = " ".join(shlex.quote(f"data.{key}={value}") for key, value in section.items())
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    return "\n".join(
        [
            f"{section['card']}: {how}; {counts}",
            "configuration, such as my.yaml:",
            *(f"  {line}" for line in lines),
            f"check:  seg-scse data check {overrides}",
            "train:  seg-scse train --config my.yaml",
        ]
    )


def _require_data(options: argparse.Namespace, also: str = "") -> None:
    if not (options.config or any(text.startswith("data.") for text in options.overrides)):
        raise ConfigError(f"no data: give --config FILE{also}, or overrides such as data.card=NAME data.root=DIR.")


def check(options: argparse.Namespace) -> Result:
    """List everything that is wrong with data, and write the page of it."""
    if bool(options.images) != bool(options.masks):
        raise ConfigError("--images and --masks go together: name both folders, or use --config.")
    if options.images and options.config:
        raise ConfigError("--config and --images exclude each other: set data.images and data.masks instead.")
    if not options.images:
        _require_data(options, ", or --images DIR --masks DIR")

    from seg_scse.data.checking.check import check_data
    from seg_scse.report.data_page import check_text, write_check

    config, reasons = _checked_config(options)
    result = check_data(config.data, sys.stderr.isatty(), config.trainer.crop, reasons)
    page = write_check(result, options.out or Path("data-check") / config.name)
    print(check_text(result))
    print(f"page: {page}")
    if result.exit_code:
        print(f"error: training would refuse these data. {result.summary}. See {page}", file=sys.stderr)
    return {**result.as_dict(), "page": str(page), "exit_code": result.exit_code}


def _checked_config(options: argparse.Namespace) -> "tuple[Config, dict[str, str]]":
    """The configuration and, where it was chosen by looking at folders, the reasons."""
    if not options.images:
        return load_config(options.config, options.overrides), {}
    from seg_scse.training.autoconfig import choose_config

    return choose_config(options.images, options.masks, options.overrides, strict=False)


def split(options: argparse.Namespace) -> Result:
    """Divide data as a training would, say what each split holds, and write the table."""
    _require_data(options)
    config = load_config(options.config, options.overrides)

    from seg_scse.data.sets.cards import resolve_card

    data = resolve_card(config.data)
    folds = data.split.folds if data.split.fold is None else None
    if folds is None:
        return _divided(data, [(data, options.out)])
    each = [data.model_copy(update={"split": data.split.model_copy(update={"fold": k})}) for k in range(folds)]
    return _divided(data, [(part, _fold_file(options.out, k)) for k, part in enumerate(each)])


def _fold_file(out: Path | None, fold: int) -> Path | None:
    return out and out.with_name(f"{out.stem}-fold{fold}{out.suffix}")


def _divided(data: "DataConfig", parts: Sequence[tuple["DataConfig", Path | None]]) -> Result:
    """List and read the samples once; divide, print and write them for each part: one, or each fold."""
    from seg_scse.data.listing.listing import list_samples
    from seg_scse.data.listing.manifest import divide_listing
    from seg_scse.data.listing.splits import describe, write_splits

    listing = list_samples(data)
    presence = {} if listing.problems else _presence(listing.samples, data)
    results = []
    for part, out in parts:
        manifest = divide_listing(listing, part, presence)
        counts = describe(manifest.samples, presence, data.classes)
        for note in manifest.notes:
            print(f"note: {note}")
        print(_split_table(counts, data.classes))
        if out is not None:
            write_splits(out, manifest.samples)
            print(f"written: {out}      use it: data.split.file={out}")
        results.append({"splits": counts, "notes": list(manifest.notes), "written": None if out is None else str(out)})
    return results[0] if len(results) == 1 else {"folds": results}


def _presence(samples: Sequence["Sample"], data: "DataConfig") -> "Presence":
    """Read the samples and return the classes in the mask of each."""
    from seg_scse.data.checking.tally import present_classes
    from seg_scse.data.measuring import measure, require_entries

    entries = require_entries(measure(samples, data, sys.stderr.isatty()), samples)
    return {sample.id: present_classes(entry) for sample, entry in zip(samples, entries, strict=True)}


def _split_table(counts: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> str:
    rows: list[list[object]] = [["split", "samples", "groups", *(f"with {name}" for name in classes)]]
    for name, row in counts.items():
        rows.append([name, row["samples"], row["groups"], *(row["classes"][label] for label in classes)])
    return aligned(rows)
