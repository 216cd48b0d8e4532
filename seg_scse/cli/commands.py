"""The commands: what was asked on the command line, done. Each returns what `--json` prints, or nothing.

Nothing heavy is imported before it is needed, so that `--help` answers at once.
"""

import argparse
from pathlib import Path

from seg_scse.cli.options import Result
from seg_scse.config.loading import load_config
from seg_scse.config.printing import json_schema, to_yaml
from seg_scse.errors import ConfigError


def explain(options: argparse.Namespace) -> Result:
    """Show what the gates of a run do, or replace them and score the change."""
    _check_explain(options)
    from seg_scse import distributed

    with distributed.process_group():
        if options.intervene:
            return _intervene(options)
        if distributed.world_size() > 1:
            rule = f"explain without --intervene works in one process, not in {distributed.world_size()}"
            raise ConfigError(f"{rule}: start it without torchrun.")
        return _explain(options)


def _check_explain(options: argparse.Namespace) -> None:
    if options.run.is_file() and options.checkpoint:
        raise ConfigError(f"{options.run} is a checkpoint file: --checkpoint chooses one of a run folder.")
    if options.intervene and (options.images or options.count or options.out):
        raise ConfigError("--intervene scores the images of a split: leave out --images, --count and --out.")
    if options.sites and not options.intervene:
        raise ConfigError("--sites chooses the gates that --intervene replaces: give both, or leave it out.")
    if options.images and options.count:
        raise ConfigError("--count chooses images where --images names none: leave one of the two out.")


def _explain(options: argparse.Namespace) -> Result:
    from seg_scse.evaluation import explain as looking
    from seg_scse.report.explanations import explanation_table, write_explanation

    folder, content = looking.explain(
        options.run,
        options.split,
        options.checkpoint or "best",
        options.overrides,
        images=options.images or (),
        count=options.count or 6,
        limit=looking.MOST_STUDIED if options.limit is None else options.limit,
        out=options.out,
    )
    written = [*write_explanation(folder), *_report_again(folder)]
    print(explanation_table(content))
    for path in written:
        print(f"written: {path}")
    return {**content, "written": [str(path) for path in written]}


def _intervene(options: argparse.Namespace) -> Result:
    from seg_scse.evaluation.intervene import intervene
    from seg_scse.report import explanations, interventions

    checkpoint, chosen = options.checkpoint or "best", {"sites": options.sites, "limit": options.limit}
    outcome = intervene(options.run, options.split, checkpoint, options.overrides, **chosen)
    if outcome is None:  # another process writes and reports
        return None
    folder, results = outcome
    explained = explanations.explained_folder(folder)
    pages = [explanations.write_explanation_page(explained)] if (explained / explanations.PAGE).exists() else []
    written = [interventions.plot(folder), *pages, *_report_again(explained)]
    print(interventions.interventions_table(results))
    for path in written:
        print(f"written: {path}")
    return {**results, "written": [str(path) for path in written]}


def _report_again(explained: Path) -> list[Path]:
    """Write the report of the evaluation again that shows what is known about the gates, where there is one."""
    from seg_scse.report import write_report
    from seg_scse.report.explanations import evaluation_folder

    scored = evaluation_folder(explained)
    return [write_report(scored)] if (scored / "results.json").exists() else []


def check_config(options: argparse.Namespace) -> Result:
    """Check a configuration, its card, loss and network, and print it resolved."""
    config = load_config(options.file, options.overrides)

    from seg_scse.data.sets.cards import resolve_card
    from seg_scse.losses import build_loss
    from seg_scse.models import build_model

    data = resolve_card(config.data)
    build_loss(config.loss, len(data.classes), data.task)
    without_download = config.model.without_weights()
    build_model(without_download, len(data.band_names), len(data.classes), data.task)
    print(to_yaml(config.model_copy(update={"data": data})), end="")
    return None


def print_schema(options: argparse.Namespace) -> Result:
    """Print the JSON schema of a configuration."""
    if options.overrides:
        raise ConfigError(f"`{options.overrides[0]}`: the schema takes no overrides.")
    print(json_schema())
    return None
