"""`python -m seg_scse`, for starters such as torchrun that want a module."""

import sys

from seg_scse.cli import main

if __name__ == "__main__":
    sys.exit(main())
