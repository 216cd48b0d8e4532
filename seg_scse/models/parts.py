"""Which part of a network a tensor belongs to, and which stage of its encoder."""

import re

import torch
from torch import nn

from seg_scse.attention.attach import PREFIX
from seg_scse.attention.trace import reached, tensors_in, total, undisturbed
from seg_scse.config.training import Part
from seg_scse.models.attach import example_for

_SELECTIVE = re.compile(r"\.block\.(paths|attn)(\.|$)")
"""What tells a selective kernel convolution, which replaced one of the host's, by its tensors' names."""


def part_of(name: str) -> Part:
    """Return the part that a parameter, buffer or module of a network of `build_model` belongs to, by its name.

    Gates are `gates` wherever they sit, those in the encoder too, and so are the convolutions that `sk` put in the
    place of the host's. The head is all that makes logits from features: `segmentation_head` and the heads of deep
    supervision.

    Args:
        name: of the state dict, or path of a module.
    """
    first = name.partition(".")[0]
    if first == PREFIX or _SELECTIVE.search(name):
        return "gates"
    if first == "encoder":
        return "encoder"
    return "decoder" if first == "decoder" else "head"


def encoder_stages(model: nn.Module) -> dict[str, int]:
    """Return the stage of each trainable parameter of the encoder: 0 next to the image, one more from map to map.

    The stage is that of the first of the encoder's feature maps that depends on the parameter, as one run on a small
    image shows. So it needs no table of names: in a ResNet, stage 0 is the stem and 1 to 4 are `layer1` to `layer4`;
    maps without parameters of their own, such as the image itself, are not counted. Parameters that no map depends on
    are of the last stage.

    Args:
        model: a network of `build_model`, or any with a child `encoder` that returns maps from fine to coarse.

    Returns:
        stage by the parameter's name in `model`; empty where there is no such child.

    Raises:
        ConfigError: the encoder accepts no image that could be made.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        return {}
    left = {name: p for name, p in model.named_parameters() if p.requires_grad and part_of(name) == "encoder"}
    found: list[list[str]] = []
    example = example_for(encoder)
    with undisturbed(encoder), torch.enable_grad():
        for feature in tensors_in(encoder(example)):
            answers = reached(total(feature), left.values())
            names = [name for name, answer in zip(left, answers, strict=True) if answer]
            if names:
                found.append(names)
            for name in names:
                del left[name]
    found[-1:] = [[*(found[-1] if found else []), *left]]
    return {name: stage for stage, names in enumerate(found) for name in names}
