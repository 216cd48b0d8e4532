"""`table.csv` of a study: every number in full."""

import csv
import io
from collections.abc import Iterator

from seg_scse.report.study_parts import Cost, Row
from seg_scse.report.study_reading import Study

_ROW = (
    *("seeds", "images", "units", "baseline", "mean", "difference", "low", "high", "bootstrap_low", "bootstrap_high"),
    *("p", "p_holm", "effect", "improved", "ties", "worse", "detectable", "reason"),
)
_SPREAD = ("sd_seed", "sd_image", "sd_interaction", "needed_difference", "needed_seeds", "needed_images")
_COST = ("parameters", "gate_parameters", "step_ms", "step_ratio", "memory_bytes", "memory_ratio", "batch")
_COLUMNS = ("variant", "kind", "of", "against", "metric", "declared", "tested", "comparisons", *_ROW, *_SPREAD, *_COST)


def csv_text(study: Study) -> str:
    """Write one row per variant and metric, then one for the treatment against each control; empty: not available."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    for values in _rows(study):
        writer.writerow({key: value for key, value in values.items() if value is not None})
    return text.getvalue()


def _rows(study: Study) -> Iterator[dict[str, object]]:
    base = study.baseline
    for metric, level in base.metrics.items():
        facts = {"variant": base.name, "kind": "baseline", "metric": f"{metric}_per_image", "mean": level.mean}
        yield {**facts, "seeds": len(level.by_seed), **_cost(base.cost)}
    for one in study.rows:
        for metric, row in one.metrics.items():
            facts = {"variant": one.name, "kind": one.kind, "of": one.of, "against": base.name}
            is_declared = one.kind != "control" and metric == study.metric
            yield {**facts, **_numbers(study, metric, row, is_declared), **_cost(one.cost)}
    for pair in study.against:
        facts = {"variant": pair.treatment, "kind": "variant", "against": pair.control}
        yield {**facts, **_numbers(study, study.metric, pair.row, True)}


def _numbers(study: Study, metric: str, row: Row, is_declared: bool) -> dict[str, object]:
    parts, needed = row.components, row.needed
    return {
        "metric": f"{metric}_per_image",
        "declared": "yes" if is_declared else "no",
        "tested": "yes" if row.tested else "no",
        "comparisons": study.comparisons,
        **{key: getattr(row, key) for key in _ROW},
        **({} if parts is None else {f"sd_{key}": value for key, value in parts}),
        **({} if needed is None else {f"needed_{key}": value for key, value in needed}),
    }


def _cost(cost: Cost | None) -> dict[str, object]:
    return {} if cost is None else dict(cost)
