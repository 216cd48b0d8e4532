"""The score that a study tests, checked before its first run."""

from seg_scse.config.loading import nearest
from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError
from seg_scse.evaluation.comparable import WITHOUT_A_BETTER_SIDE
from seg_scse.metrics.surfaces import SURFACE_NAMES
from seg_scse.report.headings import MEASURES


def require_metric(name: str, config: Config, split: str, folds: int | None) -> None:
    """Refuse a score that the runs would not have, or of which nobody can say what better is.

    Args:
        name: of the score.
        config: of the runs.
        split: that is scored.
        folds: of a cross-validation, or None.

    Raises:
        ConfigError: says which scores there are, or which setting the score needs.
    """
    known = [one for one in MEASURES if one not in WITHOUT_A_BETTER_SIDE]
    if name not in known:
        raise ConfigError(f"--metric: `{name}` is no score{nearest(name, known) or '.'} Known: {', '.join(known)}.")
    settings = config.evaluation
    needed = {
        **dict.fromkeys(SURFACE_NAMES, ("evaluation.surface", settings.surface)),
        "cldice": ("evaluation.centerline", settings.centerline),
        **dict.fromkeys(("object_f1", "pq"), ("evaluation.objects", settings.objects is not False)),
    }
    key, measured = needed.get(name, ("", True))
    if not measured:
        raise ConfigError(f"--metric {name}: is not measured. Set {key}=true, or choose another score.")
    if folds is not None and split != "test":
        raise ConfigError(
            f"--split {split} with --folds: only the test splits of the folds together hold every image once. "
            "Leave one of the two out."
        )
