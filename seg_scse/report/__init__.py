"""Reports of a run: the learning curves, the table on the terminal and the HTML page, from result files alone."""

from seg_scse.report.curves import plot_curves
from seg_scse.report.page import write_report
from seg_scse.report.terminal import results_table

__all__ = ["plot_curves", "results_table", "write_report"]
