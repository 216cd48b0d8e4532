"""Counting memory traffic: bytes read and written by every operation, in units of one map.

A pass is one read or one write of a tensor of the map's size. Views move nothing; a tensor broadcast along a dimension
is read once. The counts depend on the operations alone, so they are the same on every machine.
"""

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

VIEWS = {"view", "_unsafe_view", "expand", "t", "transpose", "permute", "unsqueeze", "squeeze", "alias", "detach"}
VIEWS |= {"slice", "select", "as_strided", "unbind", "_reshape_alias"}
FREE = VIEWS | {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}
WRITES_ONLY = {"fill_", "zero_", "zeros", "zeros_like", "ones_like", "new_zeros", "new_ones", "full_like"}


def touched(tensor):
    """Bytes of a tensor, each element of a broadcast one counted once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else 1
    return count * tensor.element_size()


class Traffic(TorchDispatchMode):
    """Adds up the traffic of the operations that run inside."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        if name in FREE:
            return results
        given = {key: value for key, value in kwargs.items() if key not in ("out", "grad_input")}
        inputs = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        self.bytes += sum(touched(leaf) for leaf in tree_leaves(results) if isinstance(leaf, Tensor))
        self.bytes += self._read(name, inputs, args)
        return results

    def _read(self, name, inputs, args):
        if name in WRITES_ONLY:
            return 0
        if name == "copy_":
            return touched(inputs[1])
        if name == "convolution_backward":  # two products: gradient and weight, gradient and map
            gradient, x, weight = (touched(tensor) for tensor in inputs[:3])
            of_input, of_weight, of_bias = args[-1]
            return of_input * (gradient + weight) + of_weight * (gradient + x) + of_bias * gradient
        return sum(touched(tensor) for tensor in inputs)


def passes(function, x):
    """The traffic of `function()` in maps of the size of x."""
    with Traffic() as traffic:
        function()
    return traffic.bytes / x.nbytes
