import copy

import pytest
import torch
from torch import nn

from seg_scse.attention import SCSE, functional
from seg_scse.attention.attach import GateSet
from seg_scse.attention.compiling import compile_gates
from seg_scse.errors import ConfigError

# The compiler looks at `.grad` of the map it is given and hides torch's warning, in vain where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


class Host(nn.Module):
    """A network with two gates, without the search for sites."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
        self.gates = GateSet()
        self.gates["one"], self.gates["two"] = SCSE(8), SCSE(4, merge="max")

    def forward(self, x):
        return self.gates["two"](self.second(self.gates["one"](self.first(x))))


def gradients(model, x):
    y = model(x)
    return y, torch.autograd.grad(y, list(model.parameters()), torch.ones_like(y))


def image():
    return torch.randn(2, 3, 6, 4, generator=torch.Generator().manual_seed(1))


def check(**options):
    plain, compiled = Host(), compile_gates(Host(), **options)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(gradients(compiled, image()), gradients(plain, image()))


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()


def test_compiled_gates_compute_the_same_and_only_they_are_compiled():
    graphs = []

    def backend(graph, _):
        graphs.append(graph.code)
        return graph.forward

    check(backend=backend)
    assert len(graphs) == 2
    assert not any("conv" in code for code in graphs)


def test_gradients_of_compiled_gates_are_right():
    check(backend="aot_eager")


@pytest.mark.slow  # about 30 s: it compiles C++
def test_gates_compiled_to_machine_code_compute_the_same():
    check()


class Deep(nn.Module):
    """A network with more gates than torch keeps graphs for one piece of code."""

    def __init__(self, count):
        super().__init__()
        self.gates = GateSet()
        for width in range(2, count + 2):
            self.gates[f"of_{width}"] = SCSE(width)

    def forward(self, images):
        return [gate(image) for gate, image in zip(self.gates.values(), images, strict=True)]


def test_every_gate_of_many_is_compiled_for_each_shape_and_mode(monkeypatch):
    model = compile_gates(Deep(10), backend="eager")
    monkeypatch.setattr(functional.eager_form, "scse_eager", lambda *_: pytest.fail("a gate ran in eager mode"))
    for side in (4, 5):
        images = [torch.ones(1, width, side, side) for width in range(2, 12)]
        model.train()(images)
        with torch.inference_mode():
            model.eval()(images)


def test_a_copy_of_a_network_with_compiled_gates_works():
    model = compile_gates(Host(), backend="aot_eager")
    torch.testing.assert_close(copy.deepcopy(model)(image()), model(image()))


def test_a_network_without_gates_is_refused():
    with pytest.raises(ConfigError, match=r"no gates to compile \(`gates` is NoneType\): attach some first"):
        compile_gates(nn.Conv2d(1, 1, 1))
