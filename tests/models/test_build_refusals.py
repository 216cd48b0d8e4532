import pytest

from seg_scse.errors import ConfigError
from seg_scse.models import build_model

CURE = "Set model.encoder_weights=null (random) or to a local .safetensors file of the encoder's state dict."
CLASSIC = {"architecture": "classic_unet", "width": 8}
ENCODER_HELP = (
    "Encoders are those of segmentation-models-pytorch, such as resnet18 or efficientnet-b0, "
    "and `tu-` with any name of timm."
)
MISTAKES = [
    (
        {"architecture": "unett"},
        "`model.architecture` = 'unett' is not known; did you mean `unet`? Known architectures: unet, unetplusplus, "
        "manet, linknet, fpn, pspnet, deeplabv3, deeplabv3plus, pan, upernet, segformer, dpt, classic_unet.",
    ),
    ({"encoder": "resnet19"}, f"`model.encoder` = 'resnet19' is not known; did you mean `resnet18`? {ENCODER_HELP}"),
    (
        {"encoder": "tu-resnet19"},
        f"`model.encoder` = 'tu-resnet19' is not known; did you mean `tu-resnet18`? {ENCODER_HELP}",
    ),
    (
        {"encoder_weights": "imagenett"},
        "`model.encoder_weights` = 'imagenett' does not exist for resnet18; did you mean `imagenet`? "
        f"Known weights: imagenet, ssl, swsl. {CURE}",
    ),
    (
        {"encoder": "tu-nf_resnet26", "encoder_weights": "imagenet"},
        f"`model.encoder_weights` = imagenet: timm has no weights for tu-nf_resnet26. {CURE}",
    ),
    (
        {"decoder_channels": (64, 32)},
        "`model.decoder_channels` = [64, 32] has 2 widths, but unet takes 5, such as [256, 128, 64, 32, 16].",
    ),
    (
        {"decoder_channels": (64, 32), "architecture": "pan"},
        "`model.decoder_channels` = [64, 32] has 2 widths, but pan takes 1, such as [32].",
    ),
    (
        {"decoder_channels": (64,), "architecture": "fpn"},
        "`model.decoder_channels` does not apply to fpn: set it to null.",
    ),
    (
        {"architecture": "linknet", "encoder": "mit_b0"},
        "`model.architecture` = linknet does not work with `model.encoder` = mit_b0 "
        "(Encoder `mit_b0` is not supported for Linknet). Choose another encoder or architecture.",
    ),
    (
        {"attention": {"type": "scse", "sites": []}},
        "`model.attention`: `sites` is empty: name at least one site.",
    ),
    (
        {"attention": {"type": "scse", "sites": ["decoder_in"]}, "architecture": "pspnet"},
        "`model.attention`: site `decoder_in` is not available in this network: the network uses no feature map of "
        "this name. Usable sites: encoder.1, encoder.2, encoder.3, bottleneck, decoder.1, decoder.2; "
        "a name without its number means all of the kind.",
    ),
]


@pytest.mark.parametrize(("options", "text"), MISTAKES)
def test_what_cannot_be_built_is_refused_with_the_cure(options, text):
    with pytest.raises(ConfigError) as error:
        build_model(options)
    assert str(error.value) == text


def test_all_problems_of_a_mapping_are_named_at_once():
    with pytest.raises(ConfigError) as error:
        build_model({"architektur": "unet", "depth": "4", "attention": {"typ": "scse", "merge": "max"}})
    assert str(error.value) == (
        "the network cannot be built:\n"
        "  - model.depth = '4': must be a valid integer\n"
        "  - unknown key `model.attention.typ`; did you mean `type`?\n"
        "  - unknown key `model.architektur`; did you mean `architecture`?"
    )
    with pytest.raises(
        ConfigError, match=r"unknown key `model\.x`\. Known here: architecture, attention, decoder_channels"
    ):
        build_model({"x": 1})


@pytest.mark.parametrize(("in_channels", "num_classes"), [(0, 2), (3, 1)])
def test_images_without_channels_and_less_than_two_classes_are_refused(in_channels, num_classes):
    with pytest.raises(ConfigError) as error:
        build_model({}, in_channels, num_classes)
    assert str(error.value) == (
        f"`in_channels` = {in_channels} and `num_classes` = {num_classes}: an image has 1 channel or more, and classes "
        "are 2 or more with the background."
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"width": 32}, "width = 32 has no meaning for architecture = unet: it belongs to classic_unet"),
        ({"depth": 3}, "depth = 3 has no meaning for architecture = unet: it belongs to classic_unet"),
        (
            {**CLASSIC, "encoder": "resnet34"},
            "encoder = 'resnet34' has no meaning for architecture = classic_unet, which is described by width and "
            "depth",
        ),
        (
            {**CLASSIC, "encoder_weights": "imagenet"},
            "encoder_weights = 'imagenet' has no meaning for architecture = classic_unet, which is described by width "
            "and depth",
        ),
        (
            {**CLASSIC, "decoder_channels": [8, 8]},
            "decoder_channels = (8, 8) has no meaning for architecture = classic_unet, which is described by width and "
            "depth",
        ),
        (
            {"weights": "w.safetensors", "encoder_weights": "imagenet"},
            "weights = 'w.safetensors' holds the encoder too: set encoder_weights = null or leave weights out",
        ),
    ],
)
def test_fields_that_the_network_would_ignore_are_refused(options, text):
    with pytest.raises(ConfigError) as error:
        build_model(options)
    assert str(error.value) == f"the network cannot be built:\n  - model: {text}"
