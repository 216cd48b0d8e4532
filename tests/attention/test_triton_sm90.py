"""What the compiler makes of the kernels for sm_90 (H100, H200): launched on meta tensors, without a GPU."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from seg_scse.attention import triton_form

triton = pytest.importorskip("triton", reason="Triton compiles for GPUs on Linux only")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.runtime import driver  # noqa: E402
from triton.runtime.jit import KernelInterface  # noqa: E402

from seg_scse.attention import triton_kernels  # noqa: E402

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
pytestmark = [
    pytest.mark.skipif(not CUOBJDUMP.exists(), reason="this Triton brings no cuobjdump to read machine code with"),
    pytest.mark.skipif(triton.knobs.runtime.interpret, reason="the interpreter does not compile"),
]
MAPS = {"describe": (1, 0), "scale": (1, 1), "reduce": (2, 0), "spread": (1, 1)}
"""Maps that each kernel reads and writes."""
# The attention blocks of a U-Net with a resnet34 at 512 x 512 pixels: those that differ most, and the rest.
SHAPES = [(16, 512), (64, 128), (192, 128), (768, 32)]
OTHERS = [(32, 256), (128, 64), (256, 32), (128, 256), (384, 64)]


class Absent:
    """Stands for a GPU that is not there."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Let launches compile and go no further; holds the kernels by name."""
    found = {}

    def compile_only(kernel, grid):
        def launch(*arguments, **options):
            found[kernel.__name__] = kernel.warmup(*arguments, grid=grid, **options)

        return launch

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(KernelInterface, "__getitem__", compile_only)
    monkeypatch.setattr(driver, "_active", Absent())
    yield found
    for name in MAPS:
        getattr(triton_kernels, name).device_caches.clear()


def launch_all(x, merge="add", activation="sigmoid", bias=True):
    """Launch all kernels as a training step of a block does."""

    def weight(*shape):
        return torch.empty(shape, device="meta")

    channels, hidden = x.shape[1], max(x.shape[1] // 2, 1)
    layers = (weight(hidden, channels), weight(hidden), weight(channels, hidden), weight(channels))
    channel = (None,) * 4 if merge == "spatial" else layers
    spatial = (None, None) if merge == "channel" else (weight(1, channels), weight(1) if bias else None)
    forward, reduce, spread = (op._init_fn for op in (triton_form._scse, triton_form._reduce, triton_form._spread))
    y, means, _, c, s = forward(x, *channel, *spatial, merge, activation, 1.0)
    _, dpixels, _, _ = reduce(x, y, c, s, merge, activation, 1.0)
    spread(y, c, s, spatial[0], dpixels, means, merge)


def drawn(*shape, dtype=torch.bfloat16, last=True):
    x = torch.empty(shape, device="meta", dtype=dtype)
    return x.to(memory_format=torch.channels_last) if last else x


def check(kernel, name, x, folder):
    """Hold the machine code of a kernel for x against what makes it fast."""
    (folder / name).write_bytes(kernel.asm["cubin"])
    resources, code = (
        subprocess.run([CUOBJDUMP, option, folder / name], capture_output=True, text=True, check=True).stdout
        for option in ("-res-usage", "-sass")
    )
    registers, stack = (int(re.search(rf"{what}:(\d+)", resources)[1]) for what in ("REG", "STACK"))
    last = not x.is_contiguous()
    assert stack <= (0 if last else 8), "registers are spilled"
    assert not (last and re.search(r"\b(LDL|STL)", code)), "registers are spilled"
    assert registers <= 168, "fewer than three programs of four warps fit"
    assert not re.search(r"\b(LDG|STG)\.\S*[US](8|16)\b", code), "a map is accessed value by value"
    plan = triton_form._plan(x).arguments
    accesses = plan["PIXELS"] * plan["CHANNELS"] // (32 * plan["num_warps"]) // 8  # of 128 bits, for each map
    read, written = MAPS[name]
    assert len(re.findall(r"\bLDG\.\S*128", code)) >= read * accesses
    assert len(re.findall(r"\bSTG\.\S*128", code)) >= written * accesses


@pytest.mark.parametrize(("channels", "side"), SHAPES)
def test_kernels_spill_nothing_and_access_maps_by_128_bits(channels, side, compiled, tmp_path):
    x = drawn(16, channels, side, side)
    launch_all(x)
    assert compiled.keys() == MAPS.keys()
    for name, kernel in compiled.items():
        check(kernel, name, x, tmp_path)


def test_the_gradient_of_max_spills_nothing(compiled, tmp_path):
    x = drawn(16, 64, 128, 128)
    launch_all(x, "max")
    check(compiled["reduce"], "reduce", x, tmp_path)


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (drawn(2, 24, 5, 7, dtype=torch.float32), {"merge": "channel", "activation": "hard_sigmoid"}),
        (drawn(2, 24, 5, 7, dtype=torch.float16), {"merge": "spatial", "bias": False}),
        (drawn(1, 1, 1, last=False), {"merge": "max", "activation": "hard_sigmoid"}),
        (drawn(1, 2048, 3, 3, last=False), {"merge": "mul", "bias": False}),
    ],
)
def test_every_variant_compiles(x, options, compiled):
    launch_all(x, **options)
    assert compiled.keys() == MAPS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["add", "max", "mul"])
@pytest.mark.parametrize("last", [True, False])
def test_no_shape_spills_more_than_a_value_and_none_with_channels_last(last, merge, compiled, tmp_path):
    for channels, side in SHAPES + OTHERS:
        x = drawn(16, channels, side, side, last=last)
        launch_all(x, merge)
        for name in MAPS if merge == "add" else ["reduce"]:
            check(compiled[name], name, x, tmp_path)
