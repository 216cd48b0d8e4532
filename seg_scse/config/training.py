"""The sections of the configuration that say how a network is trained."""

from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, StrictBool, StrictInt, WithJsonSchema, model_validator

from seg_scse.config.attention import Strict
from seg_scse.config.numbers import Fraction, ImageSize, NaturalInt, NonNegative, Positive, PositiveInt

LossName = Literal["ce", "dice", "jaccard", "focal", "tversky", "lovasz"]
Part = Literal["encoder", "decoder", "head", "gates"]
"""Parts of a network: gates are those of encoder and decoder, the head is all that makes logits from features."""


class LossConfig(Strict):
    """A weighted sum of losses, computed in float32."""

    terms: dict[LossName, Positive] = Field(
        {"ce": 1.0, "dice": 1.0}, description="name: weight; ce is BCE for two classes"
    )
    class_weights: tuple[NonNegative, ...] | None = Field(None, description="one weight per class, for ce and focal")
    class_balance: Literal["none", "inverse", "sqrt_inverse", "effective"] = Field(
        "none",
        description="class_weights from the pixels n of each class in the training masks: 1/n, 1/sqrt(n), or the "
        "effective number of Cui et al. 2019; their mean over the pixels is 1",
    )
    hardest: Annotated[float, Field(strict=True, gt=0.0, le=1.0)] = Field(
        1.0, description="for ce and focal: only this share of the pixels, those with the largest loss, counts"
    )
    focal_gamma: NonNegative = Field(2.0, description="focusing exponent of the focal loss")
    tversky_alpha: Fraction = Field(0.3, description="weight of false positives in the Tversky loss")
    tversky_beta: Fraction = Field(0.7, description="weight of false negatives in the Tversky loss")
    label_smoothing: Annotated[float, Field(strict=True, ge=0.0, lt=1.0)] = Field(0.0, description="for ce")

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if not self.terms:
            raise ValueError("terms is empty: name at least one loss, such as {ce: 1, dice: 1}")
        if self.class_weights is not None and self.class_balance != "none":
            raise ValueError(
                f"class_weights = {list(self.class_weights)} and class_balance = {self.class_balance!r} are both set: "
                "give one of them"
            )
        return self


class OptimizerConfig(Strict):
    """The optimizer and its learning-rate schedule."""

    name: Literal["adamw", "adam", "sgd"] = Field("adamw", description="algorithm")
    lr: Positive = Field(1e-3, description="peak learning rate")
    lr_factors: dict[Part, Positive] = Field(
        {}, description="part of the network: factor of its learning rate; a part that is not named has 1"
    )
    layer_decay: Annotated[float, Field(strict=True, gt=0.0, le=1.0)] = Field(
        1.0, description="factor of the learning rate from each stage of the encoder to the one before it"
    )
    weight_decay: NonNegative = Field(1e-2, description="not applied to biases and normalisation layers")
    momentum: Annotated[float, Field(strict=True, ge=0.0, lt=1.0)] = Field(0.9, description="sgd only")
    schedule: Literal["cosine", "onecycle", "plateau", "poly", "constant"] = Field("cosine", description="per step")
    warmup_steps: NaturalInt = Field(0, description="linear warm-up")
    min_factor: Fraction = Field(0.01, description="final learning rate / lr, for cosine, poly and plateau")
    patience: NaturalInt = Field(5, description="plateau: validations without improvement before the rate is halved")


class AugmentationConfig(Strict):
    """Training-time augmentation. Every draw is a function of (seed, epoch, sample), mixtures of (seed, step)."""

    preset: Literal["none", "flips", "light", "medium", "heavy"] = Field(
        "light",
        description="none: crop only; flips: + the 8 symmetries; light: + scale, rotation, brightness; "
        "medium: + blur, noise, elastic; heavy: the transforms and probabilities of nnU-Net",
    )
    mix: Literal["none", "mixup", "cutmix"] = Field(
        "none",
        description="cutmix: a rectangle of image and mask comes from another crop of the batch; mixup: images are "
        "averaged, and so are the losses against both masks",
    )
    mix_share: Fraction = Field(0.5, description="share of the batches that are mixed")
    mix_alpha: Positive = Field(1.0, description="shares of the two crops are drawn from Beta(alpha, alpha)")


def _auto_or_positive(value: object) -> object:
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"{value!r} must be `auto` or a whole number from 1")


AutoInt = Annotated[
    int | Literal["auto"],
    PlainValidator(_auto_or_positive),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]


class TrainerConfig(Strict):
    """The training loop."""

    max_epochs: PositiveInt = Field(50, description="passes over the training split")
    max_steps: PositiveInt | None = Field(None, description="stop after this many optimizer steps, if earlier")
    draw: Literal["image", "area"] = Field(
        "image", description="crops per epoch: one of each image, or as many as have the image's area"
    )
    repeats: PositiveInt = Field(1, description="multiplies the crops per epoch, each with its own augmentation")
    hard_share: Fraction = Field(
        0.0, description="share of an epoch's crops that are drawn from images in proportion to their recent errors"
    )
    crops: Literal["random", "foreground", "class"] = Field(
        "random",
        description="where crops lie: anywhere; around a pixel that is not background; around a pixel of a class drawn "
        "evenly among those of the image",
    )
    crops_share: Fraction = Field(0.5, description="foreground and class: share of the crops so placed")
    batch_size: AutoInt = Field(
        8, description="samples per process and forward pass; auto: the largest that fits, found before training"
    )
    accumulate: PositiveInt = Field(1, description="forward passes per optimizer step")
    crop: ImageSize = Field(256, description="side of the square training crop in pixels; tiles at evaluation too")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: bf16 on CUDA, else fp32")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one")
    channels_last: StrictBool = Field(
        True, description="memory layout that convolutions are fastest in, on GPUs and most CPUs"
    )
    gradient_checkpointing: StrictBool = Field(
        False, description="compute the encoder's and decoder's stages again in the backward pass: less memory, slower"
    )
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
    save_every_minutes: Positive | None = Field(
        10.0, description="minutes between checkpoints within an epoch; null: at the end of each epoch only"
    )
    save_every_steps: PositiveInt | None = Field(None, description="optimizer steps between such checkpoints")
    save_top_k: PositiveInt = Field(1, description="best checkpoints that are kept, beside the last one")
    compile: Literal["none", "gates", "network"] = Field(
        "none", description="torch.compile: gates pays on a CPU, where it needs a C++ compiler; network on a GPU"
    )
    panel: NaturalInt = Field(4, description="validation images drawn after each validation, always the same ones")
    tensorboard: StrictBool = Field(True, description="write TensorBoard events")
    wandb: StrictBool = Field(False, description="log to Weights & Biases, which must be installed")
    mlflow: StrictBool = Field(False, description="log to MLflow, which must be installed")
    project: str = Field("seg_scse", min_length=1, description="project (wandb) or experiment (mlflow)")

    @property
    def samples(self) -> int:
        """`batch_size` as a number, which `auto` becomes before a trainer is built."""
        if not isinstance(self.batch_size, int):
            raise ValueError("trainer.batch_size=auto has not been resolved")
        return self.batch_size


class AveragingConfig(Strict):
    """Average the weights over training; the averaged network is the one that is validated and used."""

    method: Literal["none", "ema", "swa"] = Field(
        "none",
        description="ema: exponential moving average after each step; swa: mean over the ends of the last epochs "
        "(Izmailov et al. 2018), at a constant learning rate",
    )
    decay: Annotated[float, Field(strict=True, gt=0.0, lt=1.0)] = Field(
        0.999, description="ema: share of the average that stays at each step; less at the beginning"
    )
    start: Annotated[float, Field(strict=True, ge=0.0, lt=1.0)] = Field(
        0.75, description="swa: share of the run after which averaging begins"
    )
    lr_factor: Annotated[float, Field(strict=True, gt=0.0, le=1.0)] = Field(
        0.5, description="swa: its learning rate / optimizer.lr"
    )


class FineTuneConfig(Strict):
    """Start from a trained network; `--from` on the command line."""

    source: str | None = Field(
        None,
        description="run folder, checkpoint, .safetensors file, state dict of segmentation-models-pytorch, or id of "
        "the Hugging Face Hub; what fits is loaded and listed; null: no",
    )
    statistics: Literal["data", "source"] = Field(
        "data", description="mean and standard deviation of the channels: of the new training images or the source's"
    )
    freeze: tuple[Part, ...] = Field((), description="parts that are not trained, nor their BatchNorm statistics")
    unfreeze_epoch: PositiveInt | None = Field(
        None, description="epochs after which frozen parts are trained too; null: never"
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.unfreeze_epoch is not None and not self.freeze:
            raise ValueError(f"unfreeze_epoch = {self.unfreeze_epoch}, but freeze is empty: name the frozen parts")
        if self.unfreeze_epoch is None and {"encoder", "decoder", "head", "gates"} <= set(self.freeze):
            raise ValueError("freeze names all parts, so that nothing would be trained: leave one out")
        return self
