"""What a person gets to see of an evaluation: the report, the tables for papers, and the scores on the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

from seg_scse.cli.options import Result

if TYPE_CHECKING:
    from seg_scse.evaluation.scored import Evaluated


def report(evaluated: "Evaluated | None") -> Result:
    """Write the report and print the scores; nothing in processes that do not write."""
    if evaluated is None:
        return None
    from seg_scse.report import results_table

    folder, results = evaluated
    page = write_pages(folder)
    print(results_table(results))
    print(f"report: {page}")
    return {**results, "report": str(page)}


def write_pages(folder: Path) -> Path:
    """Write the report of an evaluation and its tables for papers; return the report."""
    from seg_scse.report import write_report
    from seg_scse.report.tables import write_tables

    page = write_report(folder)
    write_tables(folder)
    return page
