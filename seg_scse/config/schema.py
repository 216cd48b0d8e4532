"""The typed configuration: every key, its meaning, its range and its default.

All models are frozen and forbid unknown keys. Numbers are strict: `true` is not 1 and "3" is not 3. The YAML reader
(`yaml_source`) knows that `1e-4` is a number.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from seg_scse.config.attention import AttentionConfig, Strict
from seg_scse.config.data import DataConfig, ScaleConfig, SplitConfig, VolumeConfig
from seg_scse.config.masks import IGNORE_INDEX, MaskConfig
from seg_scse.config.numbers import Fraction, ImageSize, NaturalInt, NonNegative, Positive, PositiveInt

__all__ = [
    "IGNORE_INDEX",
    "AugmentationConfig",
    "Config",
    "DataConfig",
    "EvaluationConfig",
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


LossName = Literal["ce", "dice", "jaccard", "focal", "tversky", "lovasz"]


class LossConfig(Strict):
    """A weighted sum of losses, computed in float32."""

    terms: dict[LossName, Positive] = Field(
        {"ce": 1.0, "dice": 1.0}, description="name: weight; ce is BCE for two classes"
    )
    class_weights: tuple[NonNegative, ...] | None = Field(None, description="one weight per class, for ce and focal")
    focal_gamma: NonNegative = Field(2.0, description="focusing exponent of the focal loss")
    tversky_alpha: Fraction = Field(0.3, description="weight of false positives in the Tversky loss")
    tversky_beta: Fraction = Field(0.7, description="weight of false negatives in the Tversky loss")
    label_smoothing: Annotated[float, Field(strict=True, ge=0.0, lt=1.0)] = Field(0.0, description="for ce")

    @model_validator(mode="after")
    def _has_terms(self) -> Self:
        if not self.terms:
            raise ValueError("terms is empty: name at least one loss, such as {ce: 1, dice: 1}")
        return self


class OptimizerConfig(Strict):
    """The optimizer and its learning-rate schedule."""

    name: Literal["adamw", "adam", "sgd"] = Field("adamw", description="algorithm")
    lr: Positive = Field(1e-3, description="peak learning rate")
    weight_decay: NonNegative = Field(1e-2, description="not applied to biases and normalisation layers")
    momentum: Annotated[float, Field(strict=True, ge=0.0, lt=1.0)] = Field(0.9, description="sgd only")
    schedule: Literal["cosine", "onecycle", "plateau", "poly", "constant"] = Field("cosine", description="per step")
    warmup_steps: NaturalInt = Field(0, description="linear warm-up")
    min_factor: Fraction = Field(0.01, description="final learning rate / lr, for cosine, poly and plateau")
    patience: NaturalInt = Field(5, description="plateau: validations without improvement before the rate is halved")


class AugmentationConfig(Strict):
    """Training-time augmentation. Every draw is a function of (seed, epoch, sample)."""

    preset: Literal["none", "flips", "light", "medium"] = Field(
        "light",
        description="none: crop only; flips: + the 8 symmetries; light: + scale, rotation, brightness; "
        "medium: + blur, noise, elastic",
    )


class TrainerConfig(Strict):
    """The training loop."""

    max_epochs: PositiveInt = Field(50, description="passes over the training split")
    max_steps: PositiveInt | None = Field(None, description="stop after this many optimizer steps, if earlier")
    draw: Literal["image", "area"] = Field(
        "image", description="crops per epoch: one of each image, or as many as have the image's area"
    )
    repeats: PositiveInt = Field(1, description="multiplies the crops per epoch, each with its own augmentation")
    crops: Literal["random", "foreground", "class"] = Field(
        "random",
        description="where crops lie: anywhere; around a pixel that is not background; around a pixel of a class drawn "
        "evenly among those of the image",
    )
    crops_share: Fraction = Field(0.5, description="foreground and class: share of the crops so placed")
    batch_size: PositiveInt = Field(8, description="samples per process and forward pass")
    accumulate: PositiveInt = Field(1, description="forward passes per optimizer step")
    crop: ImageSize = Field(256, description="side of the square training crop in pixels; tiles at evaluation too")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: bf16 on CUDA, else fp32")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one")
    workers: NaturalInt | None = Field(
        None, description="loader processes, without influence on the result; null: none on the CPU, up to 8 on a GPU"
    )
    threads: Annotated[StrictInt, Field(ge=0, le=1024)] = Field(
        0, description="CPU threads of the main process; 0: all"
    )
    clip_grad_norm: Positive | None = Field(1.0, description="largest gradient norm; null: no clipping")
    val_every: PositiveInt = Field(1, description="epochs between validations; the last epoch always validates")
    monitor: Literal["dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled"] = Field(
        "dice_per_image", description="foreground score on the validation split that selects the best checkpoint"
    )
    early_stopping: PositiveInt | None = Field(None, description="stop after this many validations without improvement")
    compile: Literal["none", "gates", "network"] = Field(
        "none", description="torch.compile: gates pays on a CPU, where it needs a C++ compiler; network on a GPU"
    )
    tensorboard: StrictBool = Field(True, description="write TensorBoard events")


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
    tta: Literal["none", "flips", "d4"] = Field(
        "none", description="average over mirrored (flips: 4) or mirrored and turned (d4: 8) copies of each tile"
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
    seed: NaturalInt = Field(0, description="seed of weights, data order and augmentation")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
