"""Configuration of the data: where images and masks are, what they mean, how they are scaled and divided."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from seg_scse.config.attention import Strict
from seg_scse.config.masks import IGNORE_INDEX, MOST_LABELS, MaskConfig, Task
from seg_scse.config.numbers import Fraction, NaturalInt, Number, Positive, PositiveInt

MOST_NEIGHBOURS = 16
"""Slices on each side of a slice: beyond them a network of three dimensions is meant."""

Bounds = Number | tuple[Number, ...] | None


class ScaleConfig(Strict):
    """How pixel values become numbers in [0, 1]: each band by a lowest and a highest value, clipped beyond them."""

    method: Literal["dtype", "range", "percentile", "zscore"] = Field(
        "dtype",
        description="dtype: the range of the integer type (float files must be in [0, 1]); range: `low` to `high`; "
        "percentile: two percentiles; zscore: mean -/+ `sigmas` standard deviations",
    )
    low: Bounds = Field(None, description="range: value that becomes 0, one for all bands or one each")
    high: Bounds = Field(None, description="range: value that becomes 1, one for all bands or one each")
    percentiles: tuple[Number, Number] = Field((0.5, 99.5), description="percentile: which ones become 0 and 1")
    sigmas: Positive = Field(3.0, description="zscore: standard deviations on each side of the mean")
    per: Literal["dataset", "file"] = Field(
        "dataset",
        description="percentile and zscore: measured once over the training split, or over each image or volume",
    )

    @model_validator(mode="after")
    def _fields_mean_something(self) -> Self:
        given = [bound is not None for bound in (self.low, self.high)]
        ranged = self.method == "range"
        if any(given) != ranged or all(given) != ranged:
            raise ValueError(f"method = {self.method}: low and high go with method = range, which needs both")
        if self.per == "file" and self.method not in ("percentile", "zscore"):
            raise ValueError(f"per = file has no meaning for method = {self.method}")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles = {[low, high]}: need 0 <= first < second <= 100")
        if ranged and any(a >= b for a, b in self.pairs(1)):
            raise ValueError(f"low = {self.low}, high = {self.high}: low must be below high in every band")
        return self

    def pairs(self, bands: int) -> list[tuple[float, float]]:
        """Low and high of each band, for method = range.

        Raises:
            ValueError: as many numbers as bands are needed where there is more than one.
        """
        lows, highs = (
            value if isinstance(value, tuple) else (float(value or 0),) * bands for value in (self.low, self.high)
        )
        if bands == 1:  # before the number of bands is known: whatever was given
            bands = max(len(lows), len(highs))
            lows, highs = (values * bands if len(values) == 1 else values for values in (lows, highs))
        if len(lows) != bands or len(highs) != bands:
            raise ValueError(f"low has {len(lows)} numbers and high {len(highs)}, but there are {bands} bands")
        return list(zip(lows, highs, strict=True))


class VolumeConfig(Strict):
    """How volumes (NIfTI) become images: one sample per slice, all slices of a volume in one group."""

    plane: Literal["axial", "coronal", "sagittal"] = Field("axial", description="anatomical plane of the slices")
    every: PositiveInt = Field(1, description="take every n-th slice")
    neighbours: Annotated[NaturalInt, Field(le=MOST_NEIGHBOURS)] = Field(
        0, description="2.5-D: slices on each side that are given to the network as further channels of a slice"
    )


class SplitConfig(Strict):
    """How samples without a split of their own are divided. The result is written into the run folder."""

    train: Fraction = Field(0.7, description="share of the independent units (groups) for training")
    val: Fraction = Field(0.15, description="share for validation; of the training split where that comes ready-made")
    test: Fraction = Field(0.15, description="share for the test")
    seed: NaturalInt = Field(41, description="seed of the random split; independent of the training seed")
    group: str | None = Field(
        None,
        description="regular expression on the sample id; its first group names the patient or scene kept together",
    )
    stratify: StrictBool = Field(False, description="let every split hold its share of each class's images")
    folds: Annotated[StrictInt, Field(ge=2, le=100)] | None = Field(
        None, description="cross-validation: each fold is the test split once; `val` is a share of the rest"
    )
    fold: NaturalInt | None = Field(None, description="which fold is the test split, from 0; null: all, one run each")
    block: Positive | None = Field(
        None, description="keep tiles of one square of a map together: its side in map units, or as `position` counts"
    )
    position: str | None = Field(
        None, description="block: regular expression on the id with the groups `x` and `y`; null: from the GeoTIFF"
    )
    file: str | None = Field(
        None, description="CSV table with id and split to use as it is, such as a run's splits.csv"
    )

    @model_validator(mode="after")
    def _rules_agree(self) -> Self:
        total = self.train + self.val + self.test
        if self.folds is None and self.file is None and abs(total - 1.0) > 1e-6:  # else train and test say nothing
            raise ValueError(f"train + val + test = {total:g}: the shares must sum to 1{self._cure()}")
        if self.folds is not None and self.val >= 1:
            raise ValueError(f"val = {self.val:g} is the share of what is not the test fold: it leaves no train")
        if self.fold is not None and (self.folds is None or self.fold >= self.folds):
            raise ValueError(f"fold = {self.fold} with folds = {self.folds}: need 0 <= fold < folds")
        if self.block is not None and self.group is not None:
            raise ValueError("block and group both say what is kept together: leave one out")
        if self.position is not None and self.block is None:
            raise ValueError("position says where a tile lies for block: give both")
        if self.file is not None and (self.folds or self.stratify):
            raise ValueError("file is used as it is: leave folds and stratify out")
        return self

    def _cure(self) -> str:
        """Write the shares that were set with others that complete them, where that is possible."""
        shares = {name: getattr(self, name) for name in ("train", "val", "test")}
        free = [name for name in shares if name not in self.model_fields_set]
        changed = free[:1] if "train" in free else free
        rest = 1 - sum(share for name, share in shares.items() if name not in changed)
        if rest < 0 or not changed:
            return ""
        shares |= dict.fromkeys(changed, rest / len(changed))
        line = ", ".join(f"{name}: {round(share, 6):g}" for name, share in shares.items())
        return f", such as data.split: {{{line}}} (of data that come with train and test, only val counts)"


class DataConfig(Strict):
    """Where images and masks are and what they mean."""

    card: str | None = Field(None, description="name of a public data set in datasets/, or the path of a card.yaml")
    root: str | None = Field(None, description="folder (or archive, with a card) that holds the data")
    images: str = Field(
        "images", description="folder of images: absolute or under root; `{split}` and `{band}` allowed"
    )
    masks: str = Field(
        "masks",
        description="folder (or annotation file) of masks: absolute or under root; `{split}`, `{class}` allowed",
    )
    image_suffix: str = Field("", description="end of the image stem to drop before pairing, such as `_sat`")
    mask_suffix: str = Field("", description="end of the mask stem to drop before pairing, such as `_mask`")
    image_pattern: str | None = Field(
        None,
        description="regular expression on the image's path below its folder, without extension; its groups joined "
        "by / are the id; other files are not read",
    )
    mask_pattern: str | None = Field(None, description="the same for masks")
    exclude: dict[str, str] = Field(default_factory=dict, description="sample ids to leave out, each with its reason")
    task: Task = Field(
        "multiclass", description="multiclass: a pixel has one class; multilabel: any number of those after the first"
    )
    classes: tuple[str, ...] = Field(("background", "foreground"), description="class names in index order; 0 first")
    mask: MaskConfig = MaskConfig()
    channels: Literal["rgb", "gray"] = Field(
        "rgb", description="channels given to the network; grey files repeat in rgb; without meaning where bands is set"
    )
    bands: tuple[str, ...] | None = Field(
        None, description="names of the bands in the files, in order, for other than grey and RGB pictures"
    )
    use: tuple[str, ...] | None = Field(None, description="bands given to the network, in this order; null: all")
    alpha: Literal["opaque", "drop"] = Field(
        "opaque", description="opaque: an alpha channel must be 255 everywhere; drop: ignore it whatever it holds"
    )
    nodata: Number | None = Field(
        None, description="value that means no data where all bands hold it, besides what the files declare"
    )
    scale: ScaleConfig = ScaleConfig()
    volume: VolumeConfig = VolumeConfig()
    split: SplitConfig = SplitConfig()
    cache: str | None = Field(None, description="folder of extracted archives and decoded samples; default: user cache")
    cache_gb: Positive | None = Field(
        None, description="most GB of decoded samples kept for this data set; what is beyond is read from its file"
    )
    max_pixels: PositiveInt = Field(100_000_000, description="larger images are refused before they are decoded")

    @property
    def slice_bands(self) -> tuple[str, ...]:
        """Names of the bands that are used of an image, or of one slice of a volume."""
        if self.bands is None:
            return ("red", "green", "blue") if self.channels == "rgb" else ("gray",)
        return self.use or self.bands

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the channels given to the network: with neighbouring slices `gray-1`, `gray`, `gray+1`."""
        most = self.volume.neighbours
        return tuple(
            f"{name}{offset:+d}" if offset else name for offset in range(-most, most + 1) for name in self.slice_bands
        )

    @property
    def own_channels(self) -> slice:
        """Where among the channels the bands of the slice itself are, between those of its neighbours."""
        bands = len(self.slice_bands)
        return slice(bands * self.volume.neighbours, bands * (self.volume.neighbours + 1))

    @property
    def coloured(self) -> bool:
        """Whether the channels are grey or red, green and blue, so that saturation and hue mean something."""
        return self.bands is None and not self.volume.neighbours

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.card is None:  # else the card's values are still to come
            self.require_consistency()
        return self

    def require_consistency(self) -> None:
        """Check the fields against each other, once the values of a card are in.

        Raises:
            ValueError: naming the fields that contradict each other.
        """
        self.mask.require_meaning()
        self._require_classes()
        self._require_bands()
        self._require_names()

    def _require_classes(self) -> None:
        if len(self.classes) < 2:
            raise ValueError(f"classes = {list(self.classes)}: at least two are needed, background first")
        most = MOST_LABELS + 1 if self.task == "multilabel" else IGNORE_INDEX
        if len(self.classes) > most:
            raise ValueError(f"{len(self.classes)} classes: at most {most} are supported for task = {self.task}")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes = {list(self.classes)}: names must differ")
        if "foreground" in self.classes and (len(self.classes) > 2 or self.classes[0] == "foreground"):
            raise ValueError("classes: `foreground` is the name of the mean over all classes but the first: rename it")
        if self.mask.encoding in ("binary", "objects") and len(self.classes) != 2:
            raise ValueError(
                f"mask.encoding={self.mask.encoding} gives two classes, but classes names {len(self.classes)}"
            )
        if self.mask.targets and max(self.mask.targets) >= len(self.classes):
            raise ValueError(
                f"data.mask maps to class {max(self.mask.targets)}, but there are only {len(self.classes)} classes"
            )
        if self.task == "multilabel" and self.mask.encoding not in ("files", "bands", "polygons", "rle"):
            raise ValueError(
                f"task = multilabel: mask.encoding={self.mask.encoding} cannot give a pixel two classes; use files, "
                "bands, polygons or rle"
            )

    def _require_bands(self) -> None:
        if self.use is not None and self.bands is None:
            raise ValueError("use chooses among bands: name the bands of the files in `bands`")
        for name, found in (("bands", self.bands), ("use", self.use)):
            if found is not None and (not found or len(set(found)) < len(found)):
                raise ValueError(f"{name} = {list(found)}: at least one name, and each once")
        unknown = sorted(set(self.use or ()) - set(self.bands or ()))
        if unknown:
            raise ValueError(f"use names {', '.join(unknown)}, which bands does not: {', '.join(self.bands or ())}")
        if self.bands is not None and self.channels != "rgb":
            raise ValueError("channels has no meaning where bands names the channels: leave it out")
        if self.bands is None and "{band}" in f"{self.images}{self.image_suffix}{self.image_pattern}":
            raise ValueError("`{band}` stands for each of `bands`: name them")
        if self.volume.neighbours and self.bands is None and self.channels == "rgb":
            raise ValueError(
                f"volume.neighbours = {self.volume.neighbours} with channels = rgb would give the network each grey "
                "slice three times: set channels = gray, or name `bands`"
            )
        if self.bands is not None and len(set(self.band_names)) < len(self.band_names):
            raise ValueError(f"volume.neighbours makes the channels {', '.join(self.band_names)}: names must differ")

    def _require_names(self) -> None:
        for kind in ("image", "mask"):
            if getattr(self, f"{kind}_suffix") and getattr(self, f"{kind}_pattern"):
                raise ValueError(f"{kind}_suffix and {kind}_pattern both say what the id is: leave one out")
        placed = "{class}" in f"{self.masks}{self.mask_suffix}{self.mask_pattern}"
        if placed != (self.mask.encoding == "files"):
            cure = (
                f"mask.encoding={self.mask.encoding} has one file for all: write `data.mask: {{encoding: files}}`"
                if placed
                else "write where the file of a class is, such as `data.masks: masks/{class}`"
            )
            raise ValueError(
                f"`{{class}}` in masks, mask_suffix or mask_pattern goes with mask.encoding = files; {cure}"
            )
