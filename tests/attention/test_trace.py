import pytest
import torch
from torch import nn

from seg_scse.attention.trace import (
    differentiable,
    reached,
    recorded,
    tensors_in,
    total,
    undisturbed,
    unreached_parameters,
)
from seg_scse.errors import ConfigError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()
        self.unused = nn.Conv2d(3, 4, 1)
        self.frozen = nn.Conv2d(3, 4, 1).requires_grad_(False)

    def forward(self, x):
        return {"mask": self.drop(self.norm(self.used(x))), "extra": [torch.ones(1), (3,)]}


def test_only_trainable_parameters_without_a_gradient_are_named():
    assert unreached_parameters(Net(), torch.rand(1, 3, 4, 4)) == ["unused.weight", "unused.bias"]


def test_looking_leaves_statistics_gradients_modes_and_random_state_alone():
    model = Net().train()
    model.norm.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    unreached_parameters(model, torch.rand(1, 3, 4, 4, generator=torch.Generator()))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert (model.training, model.norm.training, model.drop.training) == (True, False, True)
    assert torch.equal(torch.get_rng_state(), state)


def test_modes_and_random_state_come_back_after_an_error():
    model, state = Net(), torch.get_rng_state()
    try:
        with undisturbed(model):
            torch.rand(1)
            assert not model.training
            raise RuntimeError
    except RuntimeError:
        pass
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_tensors_are_found_in_nested_results_and_summed():
    result = [torch.ones(2), {"a": (torch.ones(3), None)}, torch.ones(4, dtype=torch.int64)]
    assert [tensor.numel() for tensor in tensors_in(result)] == [2, 3, 4]
    assert total(result).item() == 5  # integers carry no gradient


def test_a_result_without_floats_is_refused_because_no_gradient_can_start_there():
    with pytest.raises(ConfigError) as error:
        total({"labels": torch.ones(2, dtype=torch.int64)})
    assert str(error.value) == (
        "the network returns a dict without a float tensor, from which no gradient can start: let its forward return a "
        "float tensor, such as logits, or a list, tuple or dict that holds one."
    )


def test_reached_tells_dependence_and_not_size():
    x, y = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    assert reached((x * 0).sum(), [x, y]) == [True, False]
    assert reached(torch.zeros(()), [x]) == [False]


class Called(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()
        self.scale = Scale()

    def forward(self, x):
        return [self.scale(self.inner(x), by=torch.full((), 2.0))]


class Scale(nn.Module):
    def forward(self, x, by):
        return x * by


def test_recorded_calls_know_their_arguments_and_whether_they_made_the_output():
    model, x = Called(), torch.ones(1, 3)
    with recorded(model) as calls:
        model(x)
    assert [(call.path, call.made, list(call.arguments)) for call in calls] == [
        ("inner", False, [0]),
        ("scale", True, [0, "by"]),
    ]  # the network itself returns no single tensor
    assert calls[0].output is calls[1].arguments[0]
    assert len(calls[1].inputs) == 2
    model(x)
    assert len(calls) == 2


def test_an_input_that_gradients_flow_to_may_be_changed_in_place():
    x = torch.ones(2)
    copy = differentiable(x)
    assert reached(copy.mul_(2).sum(), [copy]) == [True]
    assert torch.equal(x, torch.ones(2))


def test_tokens_are_copied_as_they_are():
    x = torch.ones(2, dtype=torch.int64)
    copy = differentiable(x)
    assert not copy.requires_grad
    copy.mul_(2)
    assert x.tolist() == [1, 1]
