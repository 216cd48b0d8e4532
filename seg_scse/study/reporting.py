"""From the runs of a study to its answer, its figures and its report."""

import sys
from pathlib import Path
from typing import Any

from seg_scse.errors import CheckpointError, DataError
from seg_scse.inference.device import choose_device
from seg_scse.report.study_page import write_study
from seg_scse.study.answer import answer
from seg_scse.study.cost import cost
from seg_scse.study.curves import curves
from seg_scse.study.gate_maps import gate_maps
from seg_scse.study.grid import Study


def report(study: Study) -> tuple[dict[str, Any], list[Path]]:
    """Put everything that is finished together, and write the report.

    Costs are measured here, when no run goes on any more.

    Returns:
        the content of `study.json`, and the files that were written, the report first.

    Raises:
        DataError: no run is finished, or runs do not belong together.
        WriteError: the folder cannot be written.
    """
    cost(study.folder, study.declaration, study.config, choose_device(study.config.trainer))
    content = answer(study.folder)
    curves(study.folder)
    try:
        gate_maps(study.folder, study.declaration, overrides=study.moved)
    except (DataError, CheckpointError) as error:  # pictures need data and networks; the answer does not
        print(f"warning: no pictures of the gates: {error}", file=sys.stderr)
    return content, write_study(study.folder)
