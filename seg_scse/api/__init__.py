"""Trained networks for Python: `seg_scse.load`."""
