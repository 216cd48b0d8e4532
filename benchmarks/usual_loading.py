"""How others load training crops: the plain recipe and MONAI's, with the augmentation of this package's presets."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torch.utils.data import DataLoader, Dataset

Files = Sequence[tuple[Path, Path]]
"""Image and mask of each sample."""
DECODERS = {
    "PIL": (lambda path: np.array(Image.open(path).convert("RGB")), lambda path: np.array(Image.open(path))),
    "OpenCV": (
        lambda path: cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB),  # noqa: TID251 - what is compared with
        lambda path: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE),  # noqa: TID251
    ),
}
_BRIGHTNESS, _GAMMA = (-0.15, 0.15), (80, 125)


def plain_steps(preset: str, crop: int) -> A.Compose:
    """Return a crop, the augmentation of a preset and the change to normalised float32 by albumentations."""
    symmetry = [A.D4(p=1)]
    affine = A.Affine(
        scale=(0.8, 1.25), balanced_scale=True, rotate=(-45, 45), border_mode=cv2.BORDER_REFLECT_101, p=0.75
    )
    light = [affine, A.RandomBrightnessContrast(_BRIGHTNESS, _BRIGHTNESS, p=0.5), A.RandomGamma(_GAMMA, p=0.3)]
    distortion = [A.ElasticTransform(alpha=100, sigma=8, p=1), A.GridDistortion(5, (-0.2, 0.2), p=1)]
    medium = [
        A.OneOf(distortion, p=0.3),
        A.ColorJitter((1, 1), (1, 1), (0.7, 1.3), (-0.04, 0.04), p=0.3),
        A.GaussianBlur(sigma_limit=(0.4, 1.5), p=0.2),
        A.GaussNoise((0.01, 0.05), p=0.2),
    ]
    more = {"flips": [], "light": light, "medium": light + medium}[preset]
    return A.Compose([A.RandomCrop(crop, crop), *symmetry, *more, A.Normalize(), ToTensorV2()])


class PlainSet(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Decodes, augments and normalises when a sample is asked for."""

    def __init__(self, files: Files, decoder: str, steps: A.Compose) -> None:
        self._files, self._decoder, self._steps = files, decoder, steps

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image float32 `(3, H, W)` and mask int64 `(H, W)`."""
        read_image, read_mask = DECODERS[self._decoder]
        image, mask = self._files[index]
        drawn = self._steps(image=read_image(image), mask=read_mask(mask))
        return drawn["image"], drawn["mask"].long()


def one_thread(_: int = 0) -> None:
    """Let a loader process compute in one thread, as ours do."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def plain_loader(files: Files, decoder: str, steps: A.Compose, batch: int, workers: int = 0) -> Iterable[Any]:
    """Return torch's loader with its own collate."""
    dataset = PlainSet(files, decoder, steps)
    context = "forkserver" if workers else None  # a plain fork may hang in the threads of this process
    return DataLoader(dataset, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0,
                      worker_init_fn=one_thread, multiprocessing_context=context)  # fmt: skip


def _monai_steps(preset: str, crop: int) -> list[Callable[[Any], Any]]:
    from monai import transforms as M

    keys = ["image", "mask"]
    steps: list[Callable[[Any], Any]] = [
        M.LoadImaged(keys, reader="PILReader"),
        M.EnsureChannelFirstd(keys),
        M.ScaleIntensityd("image"),
        M.RandSpatialCropd(keys, (crop, crop), random_size=False),
        M.RandRotate90d(keys, prob=0.75),
        M.RandFlipd(keys, prob=0.5, spatial_axis=0),
    ]
    if preset == "light":
        turned = M.RandAffined(
            keys, prob=0.75, rotate_range=np.pi / 4, scale_range=(-0.2, 0.25), mode=("bilinear", "nearest"),
            padding_mode="reflection",
        )  # fmt: skip
        steps += [
            turned,
            M.RandScaleIntensityd("image", factors=0.15, prob=0.5),
            M.RandShiftIntensityd("image", offsets=0.15, prob=0.5),
            M.RandAdjustContrastd("image", prob=0.3, gamma=(0.8, 1.25)),
        ]
    return steps


def monai_loader(files: Files, preset: str, crop: int, batch: int, cache: str, folder: Path) -> Iterable[Any]:
    """Return MONAI's loader with its own collate.

    Args:
        files: the samples.
        preset: flips or light.
        crop: side of the crop.
        batch: samples per batch.
        cache: of what precedes the first random step: `none`, `memory` or `disk`.
        folder: of the cache on disk.
    """
    from monai.data import CacheDataset, DataLoader, PersistentDataset
    from monai.data import Dataset as PlainDataset

    records = [{"image": str(image), "mask": str(mask)} for image, mask in files]
    steps = _monai_steps(preset, crop)
    if cache == "memory":
        dataset = CacheDataset(records, steps, num_workers=1, progress=False)
    elif cache == "disk":
        dataset = PersistentDataset(records, steps, folder)
    else:
        dataset = PlainDataset(records, _composed(steps))
    return DataLoader(dataset, batch_size=batch, shuffle=True, num_workers=0)


def _composed(steps: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    from monai.transforms import Compose

    return Compose(steps)
