import pytest
import segmentation_models_pytorch as smp
import torch

from seg_scse.checkpoint import load_tensors
from seg_scse.errors import ConfigError
from seg_scse.evaluation.loaded import load_run
from seg_scse.export.exporting import Request, export
from seg_scse.export.networks import plain_network
from seg_scse.export.smp_weights import smp_call, smp_file

from .saved import CLASSIC, UNET, saved_run

SMALL = {"in_channels": 3, "classes": 1, "encoder_weights": None, "decoder_channels": [32, 16, 16, 16, 16]}
X = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("overrides", "arguments"),
    [
        ([], {}),
        (["model.deep_supervision=1"], {}),
        (["model.attention.preset=smp"], {"decoder_attention_type": "scse"}),
    ],
    ids=["plain", "supervised", "gated"],
)
def test_the_network_of_smp_loads_its_weights_strictly(discs, tmp_path, overrides, arguments):
    run = saved_run(tmp_path / "run", discs, *UNET, *overrides)
    report = export(run, "best", [], Request("smp", out=tmp_path / "net.pth"))
    assert report["parity"]["largest_logit_difference"] < 1e-5
    network = smp.Unet("resnet18", **SMALL, **arguments).eval()
    network.load_state_dict(load_tensors(tmp_path / "net.pth"), strict=True)
    with torch.no_grad():
        assert torch.allclose(network(X), plain_network(load_run(run, "best"))(X), atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ([*UNET, "model.attention.type=scse"], "not in this one: decoder.blocks.0.attention1, "),
        ([*UNET, "model.attention.type=eca"], "Not in smp's: gates.decoder_1"),
        (
            [*UNET, "model.attention.type=scse", "model.attention.sites=[decoder_in, decoder]"],
            "Not in smp's: gates.decoder_1",
        ),
        (
            ["model.architecture=linknet", "model.encoder=resnet18", "model.attention.type=scse"],
            "Not in smp's: gates.decoder_",
        ),
        ([*CLASSIC, "model.attention.type=scse"], "classic_unet is no network of segmentation-models-pytorch"),
    ],
    ids=["places", "kind", "reduction", "architecture", "classic"],
)
def test_a_network_that_smp_does_not_have_is_refused_with_the_reason(discs, tmp_path, overrides, reason):
    run = saved_run(tmp_path / "run", discs, *overrides)
    with pytest.raises(ConfigError) as caught:
        smp_file(load_run(run, "best"))
    assert reason in str(caught.value)
    assert "Use --format safetensors" in str(caught.value)


def test_the_call_that_builds_it_says_all_that_differs_from_the_defaults(discs, tmp_path):
    run = saved_run(tmp_path / "run", discs, "model.architecture=deeplabv3plus", "model.decoder_channels=[16]")
    call = smp_call(load_run(run, "best"))
    assert call == {
        "arch": "deeplabv3plus",
        "encoder_name": "resnet18",
        "encoder_weights": None,
        "in_channels": 3,
        "classes": 1,
        "decoder_channels": 16,
    }
    assert smp_file(load_run(run, "best"))
