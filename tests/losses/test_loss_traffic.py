"""What CE + Dice costs: memory passes, compiled and in eager mode, and memory on the meta device."""

import importlib.util
import shutil
import weakref
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seg_scse.config.schema import LossConfig
from seg_scse.errors import ConfigError
from seg_scse.losses import build_loss, compile_loss, compiling

from .inductor_bytes import ByteCounter

TRAFFIC = Path(__file__).parents[1] / "attention" / "traffic.py"
FORMATS = {"first": torch.contiguous_format, "last": torch.channels_last}
# The compiler looks at `.grad` of the map it is given and hides torch's warning, in vain where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


def drawn(classes, side, dtype=torch.float32, memory="last", samples=2, device="cpu"):
    logits = torch.zeros(samples, 1 if classes == 2 else classes, side, side, dtype=dtype, device=device)
    target = torch.zeros(samples, side, side, dtype=torch.uint8, device=device)
    if device == "cpu":
        logits.normal_(generator=torch.Generator().manual_seed(0))
        target.random_(0, classes, generator=torch.Generator().manual_seed(1))
        target[:, :3] = 255
    return logits.to(memory_format=FORMATS[memory]).requires_grad_(), target


def smps(classes):
    """Dice + CE of segmentation-models-pytorch, as its users write it."""
    mode = "binary" if classes == 2 else "multiclass"
    dice = smp.losses.DiceLoss(mode)
    ce = smp.losses.SoftBCEWithLogitsLoss() if classes == 2 else smp.losses.SoftCrossEntropyLoss(smooth_factor=0.0)

    def loss(logits, target):
        target = target.clamp_max(classes - 1).long()  # they have no pixel to ignore here
        of_ce = target.unsqueeze(1).float() if classes == 2 else target
        return dice(logits, target) + ce(logits, of_ce), {}

    return loss


@pytest.fixture
def traffic():
    spec = importlib.util.spec_from_file_location("traffic", TRAFFIC)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Traffic


def compiled_bytes(classes, dtype, memory):
    """Bytes that forward and backward move when compiled, over those of the logits."""
    torch.compiler.reset()
    logits, target = drawn(classes, 64, dtype, memory)
    loss, counter = build_loss(LossConfig(), classes), ByteCounter()
    expected = loss(logits, target)[0]
    slopes = torch.autograd.grad(expected, logits)[0]
    total = torch.compile(lambda z, t: loss(z, t)[0], backend=counter, dynamic=False, fullgraph=True)(logits, target)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(torch.autograd.grad(total, logits)[0], slopes)
    assert counter.graphs == 2
    return counter.bytes / (logits.numel() * logits.element_size())


@pytest.mark.parametrize(
    ("classes", "dtype", "memory", "limit"),
    [
        (20, torch.float32, "last", 4.8),
        (20, torch.bfloat16, "last", 5.5),
        (20, torch.bfloat16, "first", 7.0),
        (2, torch.float32, "last", 4.0),
    ],
)
def test_compiled_ce_and_dice_read_and_write_the_logits_a_few_times(classes, dtype, memory, limit):
    assert 3.0 < compiled_bytes(classes, dtype, memory) <= limit


def eager_passes(mode, loss, classes):
    logits, target = drawn(classes, 64)
    with mode() as tracker:
        loss(logits, target)[0].backward()
    return tracker.bytes / (logits.numel() * 4)


def test_in_eager_mode_ce_and_dice_move_less_than_smps(traffic):
    ours, theirs = eager_passes(traffic, build_loss(LossConfig(), 20), 20), eager_passes(traffic, smps(20), 20)
    assert ours <= 29
    assert theirs >= 40


class LiveBytes(TorchDispatchMode):
    """Tracks the storages that operations inside made and that are still alive, and the most there were."""

    def __init__(self, *known):
        super().__init__()
        self.live, self.now, self.peak = {tensor.untyped_storage()._cdata for tensor in known}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage())._cdata not in self.live:
                self.live.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return results

    def _drop(self, key, size):
        self.live.discard(key)
        self.now -= size


def memory_of(loss, dtype=torch.float32, memory="last", side=512, samples=16):
    """Bytes kept for backward and at the peak, the gradient included, over those of the logits in float32."""
    logits, target = drawn(20, side, dtype, memory, samples, "meta")
    with LiveBytes(logits, target) as tracker:
        total = loss(logits, target)
        kept = tracker.now
        torch.autograd.grad(total, logits)
    size = logits.numel() * 4
    return kept / size, tracker.peak / size


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1.7), (torch.bfloat16, 1.4)])
def test_ce_and_dice_keep_little_and_need_at_most_twice_the_logits(dtype, limit, memory):
    loss = build_loss(LossConfig(), 20).to("meta")
    kept, peak = memory_of(lambda *batch: loss.terms(*batch).sum(), dtype, memory)  # autocast knows no meta device
    assert kept <= 0.1
    assert peak <= limit


def test_smps_ce_and_dice_need_several_times_the_logits():
    kept, peak = memory_of(lambda *batch: smps(20)(*batch)[0])
    assert kept >= 4
    assert peak >= 6


def test_compiled_for_training_and_only_for_it(monkeypatch):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: real(function, backend=backend, **options))
    monkeypatch.setattr(compiling, "_require_compiler", lambda: None)
    plain, compiled = build_loss(LossConfig(), 4), compile_loss(build_loss(LossConfig(), 4))
    for side in (8, 12):
        logits, target = drawn(4, side)
        torch.testing.assert_close(compiled(logits, target), plain(logits, target))
    assert len(graphs) == 2
    logits, target = drawn(4, 20)
    torch.testing.assert_close(compiled(logits.detach(), target), plain(logits.detach(), target))
    assert len(graphs) == 2


@pytest.mark.parametrize(("classes", "task"), [(2, "multiclass"), (4, "multiclass"), (4, "multilabel")])
def test_all_terms_compile_to_one_graph(classes, task):
    torch.compiler.reset()
    names = ("ce", "dice", "jaccard", "focal", "tversky", "lovasz")
    config = LossConfig(terms=dict.fromkeys(names, 1.0), hardest=0.5, label_smoothing=0.1)
    loss = build_loss(config, classes, task)
    logits, target = drawn(classes, 8)
    if task == "multilabel":
        logits = logits[:, 1:].detach().requires_grad_()
    whole = torch.compile(loss.terms, backend="aot_eager", dynamic=False, fullgraph=True)
    expected, found = loss.terms(logits, target), whole(logits, target)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(terms.sum(), logits)[0] for terms in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_without_a_compiler_the_cure_is_named():
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(
            ConfigError, match=r"needs a C\+\+ compiler, and none was found\. Install one .* trainer\.compile=none"
        ),
    ):
        compile_loss(build_loss(LossConfig(), 4))


@pytest.mark.slow  # about 30 s: it compiles C++
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")
def test_compiled_to_machine_code_it_computes_the_same():
    torch.compiler.reset()
    logits, target = drawn(20, 32)
    results = []
    for loss in (build_loss(LossConfig(), 20), compile_loss(build_loss(LossConfig(), 20))):
        total, parts = loss(logits, target)
        results.append((total, parts, torch.autograd.grad(total, logits)[0]))
    torch.testing.assert_close(*results)
    assert F.cosine_similarity(results[0][2].flatten(), results[1][2].flatten(), dim=0) > 0.9999
