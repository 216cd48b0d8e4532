"""Train a network: `python train.py --config configs/quickstart.yaml --evaluate test`."""

import sys

from seg_scse.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
