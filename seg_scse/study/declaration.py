"""What a study declares before its first run: `study.yaml`. What is tested is said there, not chosen afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml

from seg_scse.errors import ConfigError
from seg_scse.files import write_text
from seg_scse.study.variants import Variant

FILE, CONFIG = "study.yaml", "config.yaml"
FORMAT = 1


@dataclass(frozen=True)
class Declaration:
    """The grid of a study and the comparisons that are tested.

    Attributes:
        name: of the study.
        metric: the score that is tested, the primary metric.
        split: on which it is scored.
        baseline: name of the variant that the others are compared with.
        treatment: name of the variant that controls belong to; None without controls.
        seeds: one run of each trained variant (and fold) has each of these.
        folds: number of folds of a cross-validation, all of which are trained with each seed; None for one division.
        variants: the baseline first.
        history: when it was declared, and what was added later and after how many runs.
    """

    name: str
    metric: str
    split: str
    baseline: str
    treatment: str | None
    seeds: tuple[int, ...]
    folds: int | None
    variants: tuple[Variant, ...]
    history: tuple[str, ...] = ()

    def variant(self, name: str) -> Variant:
        """Return a variant by its name."""
        return next(variant for variant in self.variants if variant.name == name)

    def comparisons(self) -> list[tuple[str, str]]:
        """Return the pairs (what, against what) that are tested and corrected for together.

        Every variant against the baseline, and the treatment against each of its controls.
        """
        pairs = [(one.name, self.baseline) for one in self.variants if one.kind == "variant"]
        controls = [one.name for one in self.variants if one.kind == "control"]
        return pairs + [(self.treatment, control) for control in controls if self.treatment is not None]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for `study.yaml` and `study.json`."""
        return {
            "format": FORMAT,
            "name": self.name,
            "metric": self.metric,
            "split": self.split,
            "baseline": self.baseline,
            "treatment": self.treatment,
            "seeds": list(self.seeds),
            "folds": self.folds,
            "variants": [variant.as_dict() for variant in self.variants],
            "history": list(self.history),
        }

    def write(self, folder: Path) -> None:
        """Write `study.yaml`.

        Raises:
            WriteError: it cannot be written.
        """
        header = "# What this study compares. Written by `seg-scse ablate`; change it by that command.\n"
        text = yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True, width=110)
        write_text(folder / FILE, header + text)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `study.yaml`.

        Raises:
            ConfigError: the folder holds no study, or a damaged one.
        """
        path = folder / FILE
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise ConfigError(f"{path}: format {values['format']}, this version reads {FORMAT}.")
            variants = [Variant(**{**one, "overrides": tuple(one["overrides"])}) for one in values["variants"]]
            return cls(
                **{key: values[key] for key in ("name", "metric", "split", "baseline", "treatment", "folds")},
                seeds=tuple(values["seeds"]),
                variants=tuple(variants),
                history=tuple(values["history"]),
            )
        except FileNotFoundError:
            raise ConfigError(f"{folder}: holds no study ({FILE}). Start one: seg-scse ablate --config FILE.") from None
        except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{path}: cannot be read as a study ({what}). Restore it, or start another.") from error

    def extended(self, wished: "Declaration", when: str, runs_done: int) -> "Declaration":
        """Return this study with the seeds and variants of another one that it lacks, and a line that says so.

        Args:
            wished: what a new call asks for.
            when: the time.
            runs_done: finished runs, whose results may have been seen.

        Raises:
            ConfigError: what cannot be added to a study: another metric, split, baseline or number of folds, or another
                meaning of a name.
        """
        for key in ("metric", "split", "baseline", "folds"):
            if getattr(self, key) != getattr(wished, key):
                raise ConfigError(
                    f"the study has {key} = {getattr(self, key)}, not {getattr(wished, key)}: what is compared was "
                    "declared before its first run. Start another study: --out DIR."
                )
        known = {variant.name: variant for variant in self.variants}
        for variant in wished.variants:
            if variant.name in known and known[variant.name].overrides != variant.overrides:
                raise ConfigError(
                    f"variant {variant.name} of the study is {list(known[variant.name].overrides)}, not "
                    f"{list(variant.overrides)}. Start another study: --out DIR."
                )
        variants = [variant for variant in wished.variants if variant.name not in known]
        seeds = [seed for seed in wished.seeds if seed not in self.seeds]
        if not variants and not seeds:
            return self
        said = [_listed("variants", [one.name for one in variants]), _listed("seeds", [str(seed) for seed in seeds])]
        return replace(
            self,
            treatment=self.treatment or wished.treatment,
            seeds=(*self.seeds, *seeds),
            variants=(*self.variants, *variants),
            history=(
                *self.history,
                f"{when}: added {' and '.join(filter(None, said))} after {runs_done} finished runs",
            ),
        )


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what} {', '.join(names)}" if names else ""
