"""Empty files in folders: where only names matter."""

from pathlib import Path

ALL_TRAIN = {"train": 1.0, "val": 0.0, "test": 0.0}
SPLIT = {"images": "{split}/images", "masks": "{split}/masks"}


def touch(root: Path, *names: str) -> Path:
    """Create empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs(root: Path, stems: list[str], image: str = ".png", mask: str = ".png", under: str = "") -> Path:
    """Create an empty image and mask for each stem."""
    return touch(root, *(f"{under}images/{s}{image}" for s in stems), *(f"{under}masks/{s}{mask}" for s in stems))
