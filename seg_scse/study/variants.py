"""What a study compares: named sets of overrides of one configuration."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from seg_scse.config.attention import APPLIES, GateConfig, GateType
from seg_scse.config.loading import nearest, override
from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError

Kind = Literal["baseline", "variant", "control"]
MERGES: tuple[str, ...] = get_args(GateConfig.model_fields["merge"].annotation)
TYPES: tuple[str, ...] = get_args(GateType)
NO_GATES = ("model.attention.preset=null", "model.attention.type=none")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]*")


@dataclass(frozen=True)
class Variant:
    """One arm of a study.

    Attributes:
        name: as in tables, and the name of its folder.
        kind: what the others are compared with, what is compared, or a control that belongs to one of these.
        overrides: `section.key=value` texts that make it out of the study's configuration.
        says: what it is, in words.
        of: the variant that a control belongs to; None for others.
        trained: False where it is another variant's networks, changed after training.
    """

    name: str
    kind: Kind
    overrides: tuple[str, ...]
    says: str
    of: str | None = None
    trained: bool = True

    def config(self, base: Config) -> Config:
        """Return the configuration of its runs, but for seed and fold.

        Raises:
            ConfigError: an override does not fit the study's configuration.
        """
        config = override(base, self.overrides)
        if config.model.attention.type == "none" and config.trainer.compile == "gates":  # there are none to compile
            config = override(config, ["trainer.compile=none"])
        return config

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `study.yaml`."""
        return {**asdict(self), "overrides": list(self.overrides)}


def variant_of(name: str, sites: Sequence[str] | None, label: bool) -> Variant:
    """Return the variant that a name means: `none`, a type of gate, or `scse-<merge>`.

    Fields that mean nothing to the type are set to their defaults, so that a configuration made for another type fits.

    Args:
        name: such as `scse-max`.
        sites: where its gates are; None leaves that to the configuration.
        label: whether its name shall say where.

    Raises:
        ConfigError: no such variant.
    """
    kind, _, merge = name.partition("-")
    if kind not in TYPES or (merge and (kind != "scse" or merge not in MERGES)) or name == "scse":
        known = [one for one in TYPES if one != "scse"] + [f"scse-{one}" for one in MERGES]
        raise ConfigError(
            f"--variants: `{name}` is no variant{nearest(name, known) or '.'} Known: {', '.join(known)}. Anything else "
            'is a variant by its overrides: --add "NAME: section.key=value".'
        )
    if kind == "none":
        return Variant("none", "variant", NO_GATES, "no gates")
    fields = GateConfig.model_fields
    idle = [key for key in fields if key not in {"preset", "type", *APPLIES.get(kind, ())}]
    texts = [f"model.attention.{key}={_yaml(fields[key].default)}" for key in idle]
    texts = ["model.attention.preset=null", f"model.attention.type={kind}", *texts]
    texts += [f"model.attention.merge={merge}"] if merge else []
    texts += [f"model.attention.sites=[{', '.join(sites)}]"] if sites else []
    full = f"{name}@{'+'.join(sites)}" if sites and label else name
    says = f"{kind} gates" + (f" combined by {merge}" if merge else "") + (f" on {', '.join(sites)}" if sites else "")
    return Variant(full, "variant", tuple(texts), says)


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def added(text: str) -> Variant:
    """Return the variant of an `--add` option, "NAME: section.key=value section.key=value".

    Raises:
        ConfigError: the text is not of this form.
    """
    name, colon, rest = (part.strip() for part in text.partition(":"))
    overrides = tuple(rest.split())
    if not colon or not _NAME.fullmatch(name) or not overrides or not all("=" in one for one in overrides):
        raise ConfigError(
            f'--add "{text}": write NAME: section.key=value, several with spaces between them, such as '
            '--add "slow: optimizer.lr=1e-4".'
        )
    return Variant(name, "variant", overrides, ", ".join(overrides))


def chosen(names: Sequence[str], sites: Sequence[Sequence[str]], additions: Sequence[str]) -> list[Variant]:
    """Return the variants of `--variants`, `--sites` and `--add`, the baseline first.

    Args:
        names: of the variants; the first one is the baseline.
        sites: places of the gates to try, each with every gated variant; empty: those of the configuration.
        additions: as for `added`.

    Raises:
        ConfigError: an unknown or repeated name, or nothing to compare.
    """
    found: list[Variant] = []
    for name in names:
        places: Sequence[Sequence[str] | None] = [None] if name == "none" or not sites else sites
        found += [variant_of(name, place, len(sites) > 1) for place in places]
    found += [added(text) for text in additions]
    all_names = [variant.name for variant in found]
    repeated = sorted({name for name in all_names if all_names.count(name) > 1})
    if repeated:
        raise ConfigError(f"--variants: {', '.join(repeated)} is named twice; each name stands for one variant.")
    if len(found) < 2:
        raise ConfigError(
            f"--variants {','.join(names)}: a study compares at least two, the baseline first: none,scse-add."
        )
    first = found[0]
    return [Variant(first.name, "baseline", first.overrides, first.says), *found[1:]]


def treatment_of(variants: Sequence[Variant], base: Config) -> Variant | None:
    """Return the variant that controls belong to: the first scSE, which adds if there is one; else the first gated."""
    others = [variant for variant in variants if variant.kind == "variant"]
    gated = [one for one in others if one.config(base).model.attention.type != "none"]
    scse = [one for one in gated if one.config(base).model.attention.type == "scse"]
    adding = [one for one in scse if one.config(base).model.attention.merge == "add"]
    return next(iter([*adding, *scse, *gated]), None)
