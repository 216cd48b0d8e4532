"""The typed configuration: every key, its meaning, its range and its default.

All models are frozen and forbid unknown keys. Numbers are strict: `true` is not 1 and "3" is not 3. The YAML reader
(`yaml_source`) knows that `1e-4` is a number.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from seg_scse.config.attention import AttentionConfig, Strict
from seg_scse.config.data import DataConfig, ScaleConfig, SplitConfig, VolumeConfig
from seg_scse.config.masks import IGNORE_INDEX, MaskConfig
from seg_scse.config.numbers import NaturalInt, Positive, PositiveInt
from seg_scse.config.training import (
    AugmentationConfig,
    AveragingConfig,
    FineTuneConfig,
    LossConfig,
    OptimizerConfig,
    TrainerConfig,
)

__all__ = [
    "IGNORE_INDEX",
    "AugmentationConfig",
    "AveragingConfig",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "FineTuneConfig",
    "LossConfig",
    "MaskConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ScaleConfig",
    "SplitConfig",
    "TrainerConfig",
    "VolumeConfig",
]


class ModelConfig(Strict):
    """The network."""

    architecture: str = Field(
        "unet", description="a network of segmentation-models-pytorch, lower case; or classic_unet, that of Roy et al."
    )
    encoder: str = Field("resnet18", description="an encoder of segmentation-models-pytorch or `tu-<timm name>`")
    encoder_weights: str | None = Field(
        None, description="null: random; `imagenet` and others: downloaded by the model hub; or a local state-dict file"
    )
    decoder_channels: tuple[PositiveInt, ...] | None = Field(None, description="widths of the decoder; null: default")
    width: PositiveInt | None = Field(
        None, description="classic_unet: channels of the first block, doubled at each further one; null: 64"
    )
    depth: Annotated[StrictInt, Field(ge=1, le=8)] | None = Field(
        None, description="classic_unet: encoder blocks before the bottleneck, as many as decoder blocks; null: 4"
    )
    weights: str | None = Field(
        None,
        description="start from a .safetensors file of a whole network: written by seg_scse, or the state dict of "
        "segmentation-models-pytorch's, with or without its scse blocks; null: no",
    )
    deep_supervision: NaturalInt = Field(
        0, description="decoder stages below the last whose maps are also trained to be the answer, at their own size"
    )
    attention: AttentionConfig = AttentionConfig()

    @model_validator(mode="after")
    def _fields_mean_something(self) -> Self:
        """Refuse a field that the network would ignore."""
        classic = self.architecture == "classic_unet"
        others = ("encoder", "encoder_weights", "decoder_channels") if classic else ("width", "depth")
        for name in others:
            value = getattr(self, name)
            if value != ModelConfig.model_fields[name].default:
                raise ValueError(
                    f"{name} = {value!r} has no meaning for architecture = {self.architecture}"
                    f"{', which is described by width and depth' if classic else ': it belongs to classic_unet'}"
                )
        if self.weights is not None and self.encoder_weights is not None:
            raise ValueError(
                f"weights = {self.weights!r} holds the encoder too: set encoder_weights = null or leave weights out"
            )
        return self

    @property
    def label(self) -> str:
        """Name of the network for a line of text, such as `unet-resnet18` or `classic_unet`."""
        return self.architecture if self.architecture == "classic_unet" else f"{self.architecture}-{self.encoder}"

    def without_weights(self) -> "ModelConfig":
        """Return the same network with random weights, for a checkpoint to fill: no file and no download is needed."""
        return self.model_copy(update={"encoder_weights": None, "weights": None})


class EvaluationConfig(Strict):
    """Scoring, always at the original resolution of each image."""

    empty: Literal["exclude", "one", "zero"] = Field(
        "exclude", description="score of an image where a class is in neither truth nor prediction"
    )
    threshold: Annotated[float, Field(strict=True, gt=0.0, lt=1.0)] = Field(
        0.5, description="two classes, and each class of multilabel: present above this probability"
    )
    overlap: Annotated[float, Field(strict=True, ge=0.0, le=0.75)] = Field(
        0.25, description="overlap of tiles, as a share of a side"
    )
    batch_size: PositiveInt = Field(4, description="tiles of one image per forward pass")
    overlays: NaturalInt = Field(6, description="worst, median and best images drawn in the report, each this many")
    blend: Literal["linear", "gaussian"] = Field(
        "linear",
        description="weights where tiles overlap: falling linearly over the overlap, or a Gaussian over the tile",
    )
    margin: NaturalInt = Field(
        0,
        description="border of a tile, in px, that counts only where no other tile reaches; up to half the overlap",
    )
    tta: Literal["none", "flips", "d4"] = Field(
        "none", description="average over mirrored (flips: 4) or mirrored and turned (d4: 8) copies of each tile"
    )
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        (1.0,),
        description="average over each tile at these sizes too, such as [0.75, 1, 1.25]; times the copies of tta",
    )
    surface: StrictBool = Field(True, description="also score boundaries: hd95, assd, nsd, boundary_iou")
    tolerance: Positive | None = Field(
        None, description="nsd: largest distance that counts as right, in the unit of the spacing; null: two pixels"
    )
    spacing: tuple[Positive, Positive] | None = Field(
        None, description="height and width of a pixel in `unit`; null: from the files, else 1 px"
    )
    unit: Literal["mm", "m", "px"] = Field("mm", description="unit of `spacing`")
    centerline: StrictBool = Field(False, description="also score skeletons: cldice, for vessels and roads")
    objects: StrictBool | None = Field(
        None, description="also score connected components: object_f1, pq; null: where masks are objects"
    )
    calibration: StrictBool = Field(True, description="keep histograms of probabilities: ECE, threshold curves")
    interval: Literal["bca", "percentile"] = Field("bca", description="kind of bootstrap interval")
    resamples: Annotated[StrictInt, Field(ge=1000, le=1_000_000)] = Field(10_000, description="bootstrap resamples")
    level: Annotated[float, Field(strict=True, ge=0.5, le=0.999)] = Field(0.95, description="level of the intervals")


class Config(Strict):
    """One experiment."""

    name: str = Field(
        "experiment",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="name of the run folder; default: that of the configuration file",
    )
    recipe: Literal["default", "nnunet_like"] = Field(
        "default", description="what the keys that are not given are: see docs/recipes.md"
    )
    seed: NaturalInt = Field(0, description="seed of weights, data order and augmentation")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    trainer: TrainerConfig = TrainerConfig()
    averaging: AveragingConfig = AveragingConfig()
    finetune: FineTuneConfig = FineTuneConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        """Refuse two origins of the same weights, and the freezing of random ones."""
        given = [name for name in ("weights", "encoder_weights") if getattr(self.model, name) is not None]
        if self.finetune.source is not None and given:
            raise ValueError(
                f"finetune.source = {self.finetune.source!r} and model.{given[0]} are both set: the first fills the "
                f"whole network, set model.{given[0]} = null"
            )
        if self.finetune.freeze and self.finetune.source is None and not given:
            raise ValueError(
                f"finetune.freeze = {list(self.finetune.freeze)} would freeze random weights: set finetune.source "
                "(--from), model.weights or model.encoder_weights"
            )
        return self

    @model_validator(mode="after")
    def _margins_are_covered(self) -> Self:
        """Refuse a margin that no neighbour covers."""
        margin, overlap = self.evaluation.margin, int(self.trainer.crop * self.evaluation.overlap)
        if 2 * margin > overlap:
            raise ValueError(
                f"evaluation.margin = {margin}: tiles of trainer.crop = {self.trainer.crop} overlap by {overlap} pixels"
                f" (evaluation.overlap), and two margins must fit into that: set margin = {overlap // 2} or less"
            )
        return self

    @model_validator(mode="after")
    def _errors_can_be_measured(self) -> Self:
        """Refuse hard sampling where every batch is mixed, so that no error is that of one sample."""
        augmentation, share = self.augmentation, self.trainer.hard_share
        if share > 0.0 and augmentation.mix != "none" and augmentation.mix_share == 1.0:
            raise ValueError(
                f"trainer.hard_share = {share:g} changes nothing with augmentation.mix_share = 1: nobody knows whose "
                "error that of a mixed crop is. Set hard_share = 0 or mix_share below 1"
            )
        return self
