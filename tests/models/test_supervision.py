"""Deep supervision: what changes in training, and that nothing changes elsewhere."""

import copy
import pickle

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from seg_scse.attention.trace import undisturbed
from seg_scse.config.schema import LossConfig
from seg_scse.errors import ConfigError
from seg_scse.losses import build_loss
from seg_scse.models import attach_attention, build_model, describe_model
from seg_scse.models.supervision import attach_supervision

HOSTS = {
    "unet": 4,
    "unetplusplus": 4,
    "manet": 4,
    "linknet": 4,
    "fpn": 3,
    "pan": 2,
    "deeplabv3plus": 1,
    "upernet": 3,
    "segformer": 3,
    "classic_unet": 3,
}
CLASSIC = {"architecture": "classic_unet", "width": 4}
X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def built(stages=0, classes=2, seed=0, **config):
    torch.manual_seed(seed)
    return build_model({**(config or CLASSIC), "deep_supervision": stages}, 3, classes)


def config_of(architecture):
    return CLASSIC if architecture == "classic_unet" else {"architecture": architecture}


@pytest.mark.parametrize("architecture", HOSTS)
def test_training_returns_the_logits_and_those_of_each_coarser_stage(architecture):
    stages = HOSTS[architecture]
    model = built(stages, classes=3, **config_of(architecture))
    x = X.repeat(1, 1, 2, 2) if architecture == "pan" else X  # whose pyramid needs 128 pixels
    levels = model(x)
    assert isinstance(levels, list)
    assert [level.shape[:2] for level in levels] == [(2, 3)] * (stages + 1)
    assert levels[0].shape[2:] == x.shape[2:]
    sides = [level.shape[2] for level in levels]
    assert sides == sorted(set(sides), reverse=True)
    sum(level.square().mean() for level in levels).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(p.requires_grad for p in model.supervision.parameters())


def test_the_levels_of_a_unet_halve_the_side():
    assert [level.shape[2] for level in built(4, architecture="unet")(X)] == [64, 32, 16, 8, 4]


@pytest.mark.parametrize("architecture", ["pspnet", "deeplabv3"])
def test_an_architecture_without_coarser_stages_is_refused(architecture):
    with pytest.raises(ConfigError, match=r"has no stage with a smaller map than its last: set it to 0, or choose"):
        built(1, architecture=architecture)


def test_more_stages_than_there_are_are_refused_with_their_number():
    with pytest.raises(
        ConfigError, match=r"^`model\.deep_supervision` = 4, but the network's decoder has 3 with"
    ) as caught:
        built(4)
    assert str(caught.value).endswith("than its last (decoder.3, decoder.2, decoder.1): set it to 3 or less.")


@pytest.mark.parametrize("architecture", ["classic_unet", "unet", "fpn"])
def test_evaluation_gives_the_same_bits_as_without(architecture):
    attention = {"type": "scse", "sites": ["encoder", "decoder"]}
    config = {**config_of(architecture), "attention": attention}
    plain, supervised = built(**config).eval(), built(2, **config).eval()
    state = supervised.state_dict()
    assert {key for key in state if not key.startswith("supervision.")} == plain.state_dict().keys()
    for key, value in plain.state_dict().items():
        assert torch.equal(state[key], value)
    with torch.no_grad():
        assert torch.equal(plain(X), supervised(X))


def test_heads_leave_the_random_state_alone_and_depend_on_it():
    built(0)
    expected = torch.rand(3)
    one = built(3)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.supervision["decoder_1"].weight, built(3).supervision["decoder_1"].weight)
    assert not torch.equal(one.supervision["decoder_1"].weight, built(3, seed=1).supervision["decoder_1"].weight)


def test_a_head_sees_the_map_behind_the_gate():
    model = built(1, **CLASSIC, attention={"type": "scse", "sites": ["decoder"]})
    with torch.no_grad():
        before = model(X)[1]
        for value in model.gates["decoder_3"].parameters():
            value.zero_()  # both gates are then 1/2 everywhere: the map stays or shrinks, but is another one
        after = model(X)[1]
    assert not torch.allclose(before, after)


def test_a_gate_attached_later_is_seen_too():
    model = built(1)
    with torch.no_grad():
        before = model(X)[1]
        attach_attention(model, "decoder.3", "cse", reduction=2)
        after = model(X)[1]
    assert isinstance(model(X), list)
    assert not torch.allclose(before, after)


def test_the_mode_of_the_network_decides_each_time():
    model = built(2)
    assert isinstance(model.eval()(X), torch.Tensor)
    assert isinstance(model.train()(X), list)
    with undisturbed(model), torch.no_grad():
        assert isinstance(model(X), torch.Tensor)
    assert isinstance(model(X), list)


def test_no_map_is_kept_after_a_forward_pass_or_by_a_stage_that_runs_again():
    model = built(2)
    model(X)
    assert model.supervision.maps is None
    stage = model.decoder.blocks[2]
    stage(torch.rand(2, 16, 8, 8), torch.rand(2, 8, 16, 16))
    assert model.supervision.maps is None


def test_a_failed_forward_pass_does_not_disturb_the_next():
    model = built(2)
    with pytest.raises(RuntimeError):
        model(torch.rand(2, 5, 64, 64))
    assert len(model(X)) == 3
    with pytest.raises(RuntimeError):
        model(torch.rand(2, 5, 64, 64))
    assert isinstance(model.eval()(X), torch.Tensor)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])  # noqa: TID251 - pickled here
def test_a_copy_uses_its_own_heads(copied):
    model = built(2)
    other = copied(model)
    with torch.no_grad():
        for value in other.supervision.parameters():
            value.zero_()
        assert all((level == 0).all() for level in other(X)[1:])
        assert not any((level == 0).all() for level in model(X)[1:])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_network_returns_the_same_levels():
    plain, compiled = built(2), built(2)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled.compile(backend=backend)
    for mode in (True, False, True):
        torch.testing.assert_close(compiled.train(mode)(X), plain.train(mode)(X))
        assert compiled.supervision.maps is None
    known = len(graphs)
    for mode in (False, True):
        torch.testing.assert_close(compiled.train(mode)(X), plain.train(mode)(X))
    assert len(graphs) == known


def test_distributed_training_needs_no_search_for_unused_parameters():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        model = DistributedDataParallel(built(3, **CLASSIC, attention={"type": "scse", "sites": ["decoder"]}))
        for _ in range(2):
            levels = model(X)
            assert len(levels) == 4
            sum(level.mean() for level in levels).backward()
        assert all(value.grad is not None for value in model.parameters() if value.requires_grad)
    finally:
        distributed.destroy_process_group()


def test_an_exported_network_returns_its_logits():
    model = built(2).eval()
    program = torch.export.export(model, (X,))
    torch.testing.assert_close(program.module()(X), model(X))


def test_heads_are_counted_by_themselves():
    plain, supervised = describe_model(built()), describe_model(built(2))
    assert plain["supervision_parameters"] == 0
    assert supervised["supervision_parameters"] == (8 + 1) + (16 + 1)
    assert supervised["parameters"] == plain["parameters"], "what a report counts: the network that predicts"
    assert supervised["trainable_parameters"] == plain["trainable_parameters"]


def test_weights_of_a_plain_network_load_into_a_supervised_one(tmp_path):
    from safetensors.torch import save_file

    plain = built(seed=3)
    save_file(plain.state_dict(), tmp_path / "plain.safetensors")
    model = built(2, **CLASSIC, weights=str(tmp_path / "plain.safetensors")).eval()
    with torch.no_grad():
        assert torch.equal(model(X), plain.eval()(X))


def test_a_foreign_network_or_a_second_set_of_heads_is_refused():
    with pytest.raises(ConfigError, match=r"a decoder with known stages, which Conv2d has not"):
        attach_supervision(nn.Conv2d(3, 1, 1), 1, X[:1])
    with pytest.raises(ConfigError, match=r"already has an attribute `supervision`: heads can be attached once"):
        attach_supervision(built(1), 1, X[:1])


def test_supervised_training_teaches_the_coarse_heads():
    model, loss = built(3), build_loss(LossConfig(), 2)
    target = (X[:, 0] > 0.5).to(torch.uint8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    start = model.supervision["decoder_1"].weight.detach().clone()
    totals = []
    for _ in range(5):
        total, _ = loss(model(X), target)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < totals[0]
    assert not torch.equal(model.supervision["decoder_1"].weight, start)
