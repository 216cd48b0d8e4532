"""Score a run: `python evaluate.py runs/quickstart --split test`."""

import sys

from seg_scse.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
