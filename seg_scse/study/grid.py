"""A study made ready: what was asked for becomes a declaration, a configuration and the files of its runs."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from seg_scse import provenance
from seg_scse.config.loading import MAY_DIFFER, load_config, override
from seg_scse.config.printing import to_yaml
from seg_scse.config.schema import Config
from seg_scse.config.wording import counted
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import ConfigError, Stopped
from seg_scse.files import write_text
from seg_scse.holding import alone
from seg_scse.stopping import ending
from seg_scse.study.cells import Cell, cells
from seg_scse.study.controls import controls_of
from seg_scse.study.declaration import CONFIG, FILE, Declaration
from seg_scse.study.frozen import is_finished
from seg_scse.study.primary import require_metric
from seg_scse.study.refusals import LOCK, require_buildable, require_own_names, require_place
from seg_scse.study.variants import chosen, treatment_of
from seg_scse.training.resuming import differences, refuse_changes

_PATIENCE = 120.0
"""Seconds to wait for another process that writes the files of the same study."""
_CURE = "Continue that one with --resume, or start another: --out DIR."


@dataclass(frozen=True)
class Wish:
    """What a call asks for.

    Attributes:
        names: of variants, the baseline first.
        sites: places of gates to try with each gated variant; empty: those of the configuration.
        additions: further variants, "NAME: section.key=value".
        seeds: how many, from the configuration's `seed` on.
        controls: whether the treatment gets controls.
        folds: number of folds, or None.
        metric: the primary metric.
        split: on which it is scored.
    """

    names: Sequence[str]
    sites: Sequence[Sequence[str]] = ()
    additions: Sequence[str] = ()
    seeds: int = 5
    controls: bool = False
    folds: int | None = None
    metric: str = "dice"
    split: str = "test"


@dataclass(frozen=True)
class Study:
    """A study whose files are written.

    Attributes:
        folder: of the study.
        declaration: what it compares.
        config: its configuration, without variant, seed and fold.
        moved: overrides for runs that were begun, where the configuration now says otherwise where things are.
    """

    folder: Path
    declaration: Declaration
    config: Config
    moved: tuple[str, ...] = ()

    def cells(self) -> list[Cell]:
        """Return its runs, seed by seed."""
        return cells(self.folder, self.declaration)

    def unfinished(self) -> list[Cell]:
        """Return the runs that are not done, or of which something is still to be made."""
        return [cell for cell in self.cells() if not is_finished(self.declaration, cell)]

    def has_answer(self) -> bool:
        """Tell whether a seed of some variant is finished, in all folds."""
        cells = self.cells()
        lacking = {(one.variant, one.seed) for one in cells if one.state()["status"] != "done"}
        return {(one.variant, one.seed) for one in cells} > lacking

    @property
    def command(self) -> str:
        """The command that goes on with it, as it is typed."""
        return f"seg-scse ablate --resume {shlex.quote(str(self.folder))}"

    @contextmanager
    def ending(self, said: Callable[[], str]) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the block as what was asked for, and say what goes on with the study.

        Args:
            said: how far the work is.

        Raises:
            Stopped: a signal came.
        """
        try:
            with ending(said):
                yield
        except Stopped as stop:
            raise Stopped(f"{stop}\nTo go on: {self.command}", stop.exit_code - 128) from None


def declare(config: Config, wish: Wish) -> tuple[Declaration, list[str]]:
    """Return the declaration that a call asks for, and which controls are left out and why.

    Raises:
        ConfigError: variants that are unknown, do not fit the configuration or cannot be built.
    """
    if config.data.split.folds is not None:
        raise ConfigError(
            f"data.split.folds={config.data.split.folds} of the configuration: all folds are trained by --folds K, so "
            "take data.split.folds and data.split.fold out of the file."
        )
    require_metric(wish.metric, config, wish.split, wish.folds)
    variants = chosen(wish.names, wish.sites, wish.additions)
    require_buildable(variants, config)
    treatment = treatment_of(variants, config) if wish.controls else None
    left_out: list[str] = []
    if wish.controls and treatment is None:
        raise ConfigError("--controls: no variant has gates, so there is nothing to control for.")
    if treatment is not None:
        controls, left_out = controls_of(treatment, config)
        require_buildable(controls, config)
        variants = [*variants, *controls]
    require_own_names([variant.name for variant in variants])
    seeds = tuple(range(config.seed, config.seed + wish.seeds))
    size = f"{counted(len(variants), 'variant')} and {counted(len(seeds), 'seed')}"
    declaration = Declaration(
        name=config.name,
        metric=wish.metric,
        split=wish.split,
        baseline=variants[0].name,
        treatment=treatment.name if treatment is not None else None,
        seeds=seeds,
        folds=wish.folds,
        variants=tuple(variants),
        history=(f"{provenance.now()}: declared with {size}",),
    )
    return declaration, left_out


def begin(config: Config, wish: Wish, folder: Path, write: bool = True) -> tuple[Study, list[str]]:
    """Write the files of a new study, or add to the one that is there.

    Args:
        config: of all runs.
        wish: what is compared.
        folder: of the study.
        write: False only plans.

    Returns:
        the study, and lines that say what was left out or added.

    Raises:
        ConfigError: the folder holds something else, or a study that is not this one.
        WriteError: the folder cannot be written.
    """
    require_place(folder)
    config = config.model_copy(update={"data": resolve_card(config.data)})
    wished, left_out = declare(config, wish)
    lines = [f"control left out: {text}" for text in left_out]
    with _alone(folder, write):
        if not (folder / FILE).exists():
            study = Study(folder, wished, config)
            return (_written(study) if write else study), lines
        then = load_config(folder / CONFIG)
        refuse_changes(f"{folder}: holds a study of another configuration", differences(then, config), _CURE)
        before = Declaration.read(folder)
        return _extended(Study(folder, before, config, _moved(then, config)), wished, lines, write)


@contextmanager
def _alone(folder: Path, write: bool) -> Iterator[None]:
    """Let one process at a time write the files of a study: all processes of torchrun begin at once."""
    if not write:
        yield
        return
    with alone(folder / LOCK, _PATIENCE) as held:
        if not held:
            raise ConfigError(f"{folder}: another process has been writing here for {_PATIENCE:.0f} s. Try again.")
        yield


def go_on(folder: Path, seeds: int | None, overrides: Sequence[str], write: bool = True) -> tuple[Study, list[str]]:
    """Return the study of a folder, with more seeds where they are asked for.

    Args:
        folder: of the study.
        seeds: how many in all; None leaves them.
        overrides: for keys of `MAY_DIFFER`, such as where the data are now.
        write: False only plans.

    Raises:
        ConfigError: the folder holds no study.
    """
    Declaration.read(folder)  # before anything is written
    with _alone(folder, write):
        declaration = Declaration.read(folder)
        then = load_config(folder / CONFIG)
        config = override(then, overrides)
        refuse_changes(f"{folder}: the runs of a study are trained alike", differences(then, config), _CURE)
        first = declaration.seeds[0]
        wished = declaration if seeds is None else replace(declaration, seeds=tuple(range(first, first + seeds)))
        return _extended(Study(folder, declaration, config, _moved(then, config)), wished, [], write)


def _extended(study: Study, wished: Declaration, lines: list[str], write: bool) -> tuple[Study, list[str]]:
    done = sum(cell.state()["status"] == "done" for cell in study.cells())
    seeds = len(study.declaration.seeds)
    if len(wished.seeds) < seeds:
        lines = [*lines, f"the study has {seeds} seeds, more than the {len(wished.seeds)} of this call: all are kept"]
    declaration = study.declaration.extended(wished, provenance.now(), done)
    if declaration is not study.declaration:
        lines = [*lines, declaration.history[-1]]
    extended = replace(study, declaration=declaration)
    return (_written(extended) if write else extended), lines


def _moved(then: Config, now: Config) -> tuple[str, ...]:
    """Return overrides for the keys of `MAY_DIFFER` that changed."""
    changed = []
    for key in MAY_DIFFER:
        section, _, name = key.partition(".")
        before, after = (getattr(getattr(config, section), name) for config in (then, now))
        if before != after:
            changed.append(f"{key}={'null' if after is None else after}")
    return tuple(changed)


def _written(study: Study) -> Study:
    """Write configuration, those of the runs, and last the declaration; what was begun keeps what it was begun with."""
    name = study.config.name
    texts = {
        cell.beside(".yaml"): to_yaml(config_of(study, cell), {}, f"{name}: {cell.label}")
        for cell in study.cells()
        if not cell.folder.exists()
    }
    header = f"{name}: the configuration of all runs of this study, but for variant, seed and fold."
    for path, text in {study.folder / CONFIG: to_yaml(study.config, {}, header), **texts}.items():
        write_text(path, text)
    study.declaration.write(study.folder)
    return study


def config_of(study: Study, cell: Cell) -> Config:
    """Return the configuration of one run."""
    fold = [] if cell.fold is None else [f"data.split.folds={study.declaration.folds}", f"data.split.fold={cell.fold}"]
    config = study.declaration.variant(cell.variant).config(study.config)
    return override(config, [f"seed={cell.seed}", f"name={_name(cell)}", *fold])


def _name(cell: Cell) -> str:
    """A name of a run that tells it from the others wherever it is shown; of characters that names may have."""
    fold = "" if cell.fold is None else f"-fold{cell.fold}"
    return f"{cell.variant.replace('@', '-at-').replace('+', '-')}-seed{cell.seed}{fold}"
