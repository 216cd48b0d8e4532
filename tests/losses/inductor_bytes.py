"""Counting what a compiled function would read and write, with inductor's own byte counter and without a C++ compiler.

The graphs of forward and backward are lowered and fused as for the CPU; no kernel is generated, and the functions that
run are those of the graphs. The names used here are private to PyTorch: tests skip where they are not there.
"""

from contextlib import ExitStack

import pytest
import torch

compile_fx = pytest.importorskip("torch._inductor.compile_fx")
GraphLowering = pytest.importorskip("torch._inductor.graph").GraphLowering


class ByteCounter:
    """A backend for `torch.compile` that adds up `bytes`."""

    def __init__(self):
        self.bytes = self.graphs = 0

    def __call__(self, graph, inputs):
        return compile_fx.compile_fx(graph, inputs, inner_compile=self._lower)

    def _lower(self, graph, inputs, **_):
        from torch._dynamo.utils import detect_fake_mode
        from torch._inductor.debug import DebugContext
        from torch._inductor.virtualized import V

        if hasattr(compile_fx, "record_original_output_strides"):
            compile_fx.record_original_output_strides(graph)
        compile_fx.view_to_reshape(graph)
        fake = detect_fake_mode(inputs)
        lowered = GraphLowering(graph, shape_env=fake.shape_env)
        with ExitStack() as stack:
            for context in (DebugContext(), V.set_graph_handler(lowered), V.set_fake_mode(fake)):
                stack.enter_context(context)
            lowered.run(*inputs)
            lowered._update_scheduler()
            self.bytes += lowered.count_bytes()[0]
        self.graphs += 1

        def run(arguments):
            with torch.no_grad():
                return graph.forward(*arguments)

        run._boxed_call = True
        return run
