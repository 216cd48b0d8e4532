"""What must hold for every architecture, encoder, site and block; one network a case, small and on small images."""

import copy
import pickle
import re

import pytest
import torch
from torch import nn

from seg_scse.attention.registry import GATES, NEEDS_SIGNAL
from seg_scse.attention.selective import SelectiveKernelConv
from seg_scse.config.attention import APPLIES, GateConfig
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models import attach_attention, build_model

BLOCKS = [
    {"type": "cse"},
    {"type": "sse"},
    *({"type": "scse", "merge": merge} for merge in ("add", "max", "mul", "concat")),
    *(
        {"type": kind}
        for kind in ("eca", "cbam", "gc", "coord", "ese", "simam", "constant", "dual_position", "dual_channel")
    ),
    {"type": "attention_gate"},
]
PLANAR = ("cbam", "coord", "eca", "ese", "gc")
STAGES = ("encoder", "bottleneck", "skip", "decoder", "decoder_in")
CONCATENATING = ("unet", "unetplusplus", "manet", "classic_unet")
WITHOUT_SKIPS = ("pspnet", "deeplabv3")
JOINING = ("unet", "manet", "linknet", "fpn", "pan", "classic_unet")
ARCHITECTURES = ("unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "deeplabv3", "deeplabv3plus", "pan",
                 "upernet", "segformer")  # fmt: skip
ENCODERS = ("resnet18", "efficientnet-b0", "mobilenet_v2", "densenet121", "mit_b0", "tu-convnext_atto", "tu-resnet18")
REFUSED = {
    ("linknet", "mit_b0"),
    ("unetplusplus", "mit_b0"),
    *((architecture, "densenet121") for architecture in ("deeplabv3", "deeplabv3plus", "pan")),  # no dilation
}
PAIRS = [
    *(
        pair
        for encoder in ENCODERS
        for architecture in ARCHITECTURES
        if (pair := (architecture, encoder)) not in REFUSED
    ),
    ("dpt", "tu-vit_tiny_patch16_224"),
    ("classic_unet", "none"),
]
X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def sites_of(architecture, encoder):
    if architecture == "dpt":
        return ("bottleneck", "skip", "decoder")
    missing = set() if architecture in CONCATENATING else {"decoder_in"}
    missing |= {"skip"} if architecture in WITHOUT_SKIPS else set()
    residual = ("residual",) if encoder in ("resnet18", "tu-resnet18") else ()
    return (*(site for site in STAGES if site not in missing), *residual)


def encoder_of(architecture):
    return "none" if architecture == "classic_unet" else "resnet18"


def built(architecture="classic_unet", encoder="none", seed=0, **attention):
    torch.manual_seed(seed)
    options = {"width": 8, "depth": 3} if encoder == "none" else {"encoder": encoder}
    return build_model(ModelConfig(architecture=architecture, attention=attention, **options), 3, 2)


def groups(model):
    """Return the groups that the gates' sites belong to; module paths inside of the encoder are `residual`."""
    stage = re.compile(r"(\w+)(\.\d+)?")
    names = (stage.fullmatch(site.name) for site in model.gates.sites.values())
    return {"residual" if name is None else name[1] for name in names}


def image(architecture, n=2):
    side = {"pan": 128, "dpt": 224}.get(architecture, 64)
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def without_gradient(model, x):
    model.train()(x).float().sum().backward()
    return [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]


def marked(pair):
    """Mark a pair as slow, unless it is the only one of its architecture or encoder."""
    marks = [] if pair[1] in ("resnet18", "none") or pair[0] == "unet" else [pytest.mark.slow]
    return pytest.param(pair, marks=marks, id="-".join(pair))


@pytest.fixture(scope="module", params=[marked(pair) for pair in PAIRS])
def network(request):
    """A network with identity gates on all its sites, built once for the tests that want one of each kind."""
    sites = sites_of(*request.param)
    return built(*request.param, type="scse", min_width=1, init="identity", sites=sites), *request.param


def test_a_plain_state_dict_loads_and_the_output_is_bit_equal_to_the_hosts(network):
    model, architecture, encoder = network
    host, x = built(architecture, encoder, seed=1).eval(), image(architecture, 1)
    assert [key for key in model.state_dict() if not key.startswith("gates.")] == list(host.state_dict())
    missing, unexpected = model.load_state_dict(host.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith("gates.") for key in missing)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), host(x))


def test_every_trainable_parameter_gets_a_gradient(network):
    model, architecture, encoder = network
    assert groups(model) == set(sites_of(architecture, encoder))
    assert without_gradient(model, image(architecture)) == []


@pytest.mark.parametrize(("architecture", "encoder"), sorted(REFUSED))
def test_what_the_host_library_cannot_combine_is_refused(architecture, encoder):
    with pytest.raises(ConfigError, match="does not work with"):
        built(architecture, encoder)


@pytest.mark.parametrize("architecture", JOINING)
def test_attention_gates_on_skips_train_every_parameter(architecture):
    model = built(architecture, encoder_of(architecture), type="attention_gate", sites=["skip"])
    assert groups(model) == {"skip"}
    assert without_gradient(model, image(architecture)) == []


class Add(nn.Module):
    def __init__(self, _channels):
        super().__init__()
        self.amount = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x + self.amount


def features(model, x):
    """Return what the decoder is given."""
    seen = []
    handle = model.decoder.register_forward_pre_hook(lambda _m, args: seen.extend(y.clone() for y in args[0]))
    with torch.no_grad():
        model.eval()(x)
    handle.remove()
    return [y for y in seen if y.shape[1] and not torch.equal(y, x)]


@pytest.mark.parametrize("encoder", [*ENCODERS, "none"])
def test_a_gate_of_each_encoder_stage_acts_on_its_skip_and_on_the_next_stages(encoder):
    architecture = "classic_unet" if encoder == "none" else "unet"
    model, x = built(architecture, encoder), image(architecture, 1)
    attach_attention(model, ["encoder"], Add, example=x)
    plain = features(model, x)
    assert len(model.gates) == len(plain)
    for stage, gate in enumerate(model.gates.values()):
        nn.init.ones_(gate.amount)
        gated = features(model, x)
        nn.init.zeros_(gate.amount)
        torch.testing.assert_close(gated[stage], plain[stage] + 1)
        assert [torch.equal(*pair) for pair in zip(gated, plain, strict=True)] == [
            number < stage for number in range(len(plain))
        ]


# Blocks. The host is small, so that there can be many cases.


def gated(block, sites=STAGES):
    return built(sites=["skip"] if block["type"] == "attention_gate" else sites, **block)


def name_of(block):
    return "-".join(str(value) for value in block.values())


ALL_BLOCKS = pytest.mark.parametrize("block", BLOCKS, ids=name_of)


def test_every_registered_gate_is_in_the_matrix():
    assert {block["type"] for block in BLOCKS} == {*GATES, *NEEDS_SIGNAL}


@ALL_BLOCKS
def test_every_parameter_of_a_block_gets_a_gradient(block):
    assert without_gradient(gated(block), X) == []


@ALL_BLOCKS
def test_a_block_that_can_start_as_the_identity_leaves_the_output_bit_equal(block):
    if "init" not in APPLIES.get(block["type"], ()):
        with pytest.raises(ValueError, match=r"init = 'identity' .* has no meaning"):
            gated(block | {"init": "identity"})
        return
    model, host = gated(block | {"init": "identity"}).eval(), built().eval()
    assert torch.equal(model(X), host(X))


@ALL_BLOCKS
def test_a_deep_copy_and_a_loaded_state_compute_the_same_with_gates_of_their_own(block):
    model = gated(block).eval()
    twin, other = copy.deepcopy(model), gated(block).eval()
    other.load_state_dict(pickle.loads(pickle.dumps(model.state_dict())), strict=True)  # noqa: TID251 - pickled here
    before = model(X)
    for same in (twin, other):
        assert torch.equal(same(X), before)
        for key in same.gates:
            same.gates[key] = Zero()
        assert not torch.equal(same(X), before)
    assert torch.equal(model(X), before)


class Zero(nn.Module):
    def forward(self, x, *_signal):
        return x * 0


@ALL_BLOCKS
def test_a_block_keeps_channels_last(block):
    model, formats = gated(block).to(memory_format=torch.channels_last), []
    for gate in model.gates.values():
        gate.register_forward_hook(lambda _m, _a, y: formats.append(y.is_contiguous(memory_format=torch.channels_last)))
    model(X.to(memory_format=torch.channels_last)).sum().backward()
    assert len(formats) == len(model.gates)
    assert all(formats)


@ALL_BLOCKS
def test_a_block_trains_under_bfloat16_autocast(block):
    model = gated(block)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(X)
    y.float().mean().backward()
    assert y.dtype == torch.bfloat16
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


@ALL_BLOCKS
def test_a_block_exports(block):
    model = gated(block, ["decoder.2"]).eval()
    program = torch.export.export(model, (X,))
    torch.testing.assert_close(program.module()(X), model(X), rtol=1e-4, atol=1e-5)


@ALL_BLOCKS
def test_a_block_compiles_in_one_graph(block):
    model = gated(block, ["decoder.2"]).eval()
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(X), model(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dimensions", [1, 3])
@pytest.mark.parametrize("block", BLOCKS[:-1], ids=name_of)  # attention gates: tests/attention
def test_a_block_works_with_other_dimensions_or_says_that_it_does_not(block, dimensions):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    model = nn.Sequential(conv(2, 8, 3, padding=1), nn.ReLU(), conv(8, 1, 1))
    if block["type"] in PLANAR:
        with pytest.raises(ConfigError, match=r"is for maps \(N, C, H, W\)"):
            attach_attention(model, ["1"], GateConfig(**block))
        return
    attach_attention(model, ["1"], GateConfig(**block))
    assert without_gradient(model, torch.rand(2, 2, *(6,) * dimensions)) == []


def test_selective_kernels_train_every_parameter_and_are_copied():
    model = built(type="sk", sites=["encoder.**.conv2.0", "decoder.blocks.?.conv1.0"], min_width=8)
    assert sum(isinstance(module, SelectiveKernelConv) for module in model.modules()) == 4 + 3
    assert without_gradient(model, X) == []
    twin = copy.deepcopy(model).eval()
    assert torch.equal(twin(X), model.eval()(X))
