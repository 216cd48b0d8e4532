"""`seg-scse card`: a trained network as a folder that can be shared."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seg_scse.cli.options import Result, add_command
from seg_scse.errors import ConfigError

if TYPE_CHECKING:
    from seg_scse.cli.options import Commands

_EXAMPLES = """examples:
  seg-scse card runs/nuclei                                 into runs/nuclei/pretrained
  seg-scse card runs/nuclei --license cc-by-4.0 --author "A. Name" --out nuclei_unet_scse
  seg-scse card runs/nuclei/checkpoints/last.ckpt --out last

the folder holds model.safetensors, config.json and README.md, the model card. Then
  from seg_scse import from_pretrained; from_pretrained("nuclei_unet_scse").predict("image.png")
  hf upload OWNER/NAME nuclei_unet_scse                     puts it on the Hugging Face Hub
"""


def register_card(actions: "Commands") -> None:
    """Add the command and its options."""
    text = "Write a trained network with its model card, ready for the Hugging Face Hub."
    card = add_command(actions, "card", write_card, text, _EXAMPLES)
    card.add_argument("run", type=Path, metavar="RUN", help="run folder or checkpoint file")
    card.add_argument("--out", type=Path, metavar="DIR", help="folder to write; default: RUN/pretrained")
    card.add_argument("--license", metavar="ID", help="of the weights, as the Hub names it: mit, cc-by-4.0, other, ...")
    card.add_argument("--author", metavar="NAME", help="who publishes it")
    card.add_argument("--dataset", metavar="ID", help="training data on the Hub, such as owner/name, where they are")
    text = "split whose evaluation the card reports; default: test"
    card.add_argument("--split", choices=("train", "val", "test"), default="test", help=text)
    card.add_argument("--checkpoint", choices=("best", "last"), help="of a run folder; default: best")


def write_card(options: argparse.Namespace) -> Result:
    """Write the folder, and say what it holds."""
    if options.overrides:
        raise ConfigError(f"`{options.overrides[0]}`: a card describes a run as it was trained and takes no overrides.")
    if options.run.is_file() and options.checkpoint:
        raise ConfigError(f"{options.run} is a checkpoint file: --checkpoint chooses one of a run folder.")
    from seg_scse.cli import cross_validation

    if cross_validation.is_one(options.run):
        raise ConfigError(f"{options.run} is a cross-validation: name one of its runs, such as {options.run}/fold0.")
    from seg_scse.hub import save_pretrained

    folder = save_pretrained(
        options.run,
        options.out or _default_folder(options.run),
        options.license,
        options.author,
        dataset=options.dataset,
        split=options.split,
        which=options.checkpoint or "best",
    )
    for path in sorted(folder.iterdir()):
        print(f"written: {path}")
    if options.license is None:
        print("note: the card says that the license is unknown, so that nobody knows what is allowed: give --license")
    return {"folder": str(folder)}


def _default_folder(run: Path) -> Path:
    return run / "pretrained" if run.is_dir() else run.with_name(f"{run.stem}-pretrained")
