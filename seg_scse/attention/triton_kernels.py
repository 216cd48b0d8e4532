"""Triton kernels of scSE, forward and backward.

One sample of x is C channels by P pixels. Every program takes all channels of some pixels of one sample, a tile of
PIXELS x CHANNELS at a time (CHANNELS: the power of two >= C; what lies outside is masked), so that sums over the
channels stay within a program, and x is read once by each kernel. Sums over the pixels leave a program as partial sums,
(N, runs, C), which are added up afterwards in a fixed order: no atomics, equal results in every run.

Maps (x, y and their gradients g, gx) have one of two memory formats, CHANNELS_LAST or not; all else is float32: gates
c (N, C) and s (N, P), and the weight w (C) of the spatial gate in any float dtype. Sums and products are float32.

A gate is gain * activation(score). MERGE says which gate scales x: `channel` c, `spatial` s, `add` c + s, `max`
max(c, s), `mul` c s. The gate does not depend on x, so the last kernel needs the output's gradient only.
"""
# ruff: noqa: ANN001, ANN202 - a kernel's parameters are pointers and numbers of the compiler's, which have no types here.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def _activate(score, gain, ACTIVATION: tl.constexpr):
    """Return gain * activation(score); the division is exact, so that a score of 0 gives exactly gain / 2."""
    if ACTIVATION == "sigmoid":
        gate = tl.div_rn(gain, 1.0 + tl.exp(-score))
    else:
        gate = gain * tl.div_rn(tl.minimum(tl.maximum(score + 3.0, 0.0), 6.0), 6.0)
    return gate


@triton.jit
def _slope(gate, gain, ACTIVATION: tl.constexpr):
    """Return the derivative of a gate by its score, from the gate itself."""
    if ACTIVATION == "sigmoid":
        slope = gate * (1.0 - gate / gain)
    else:
        slope = tl.where((gate > 0.0) & (gate < gain), gain / 6.0, 0.0)
    return slope


@triton.jit
def _merged(c, s, MERGE: tl.constexpr):
    """Return what x is multiplied by."""
    if MERGE == "channel":
        gate = c
    elif MERGE == "spatial":
        gate = s
    elif MERGE == "add":
        gate = c + s
    elif MERGE == "max":
        gate = tl.maximum(c, s, propagate_nan=tl.PropagateNan.ALL)
    else:
        gate = c * s
    return gate


@triton.jit
def _shared(product, c, s, MERGE: tl.constexpr):
    """Return the gradients of c and of s, before summation, from the product g x.

    A tie of `max` goes half to each, as with torch.maximum.
    """
    if MERGE == "max":
        to_c = tl.where(c > s, product, tl.where(c == s, 0.5 * product, 0.0))
        to_s = product - to_c
    elif MERGE == "mul":
        to_c = product * s
        to_s = product * c
    else:
        to_c = product
        to_s = product
    return to_c, to_s


@triton.jit
def _row(values, row, C, PRESENT: tl.constexpr, CHANNELS: tl.constexpr):
    """Load one value for each channel as (1, CHANNELS); zeros for a gate that the block does not have."""
    channel = tl.arange(0, CHANNELS)
    result = tl.zeros([CHANNELS], tl.float32)
    if PRESENT:
        result = tl.load(values + row * C + channel, mask=channel < C, other=0.0).to(tl.float32)
    return result[None, :]


@triton.jit
def _column(values, sample, first, P, PRESENT: tl.constexpr, PIXELS: tl.constexpr):
    """Load one value for each pixel of a tile as (PIXELS, 1); zeros for a gate that the block does not have."""
    pixel = first + tl.arange(0, PIXELS)
    result = tl.zeros([PIXELS], tl.float32)
    if PRESENT:
        result = tl.load(values + sample * P + pixel, mask=pixel < P, other=0.0)
    return result[:, None]


@triton.jit
def _tile(sample, first, C, P, CHANNELS_LAST: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Return where in a map the tile of one sample from pixel `first` lies, and which of it exists.

    `sample` is a 64-bit number, since a batch can exceed 2^31 values, and so is what else can.
    """
    pixel = tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    if CHANNELS_LAST:
        offset = (sample * P + first) * C + (pixel[:, None] * C + channel[None, :])
    else:
        offset = sample * C * P + first + (channel.to(tl.int64)[None, :] * P + pixel[:, None])
    return offset, (first + pixel < P)[:, None] & (channel < C)[None, :]


@triton.jit
def describe(
    x, w, bias, partial_means, s, C, P, runs, steps, gain,
    MERGE: tl.constexpr, ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    """Read x once for what its gates need: the means over the pixels and the gate of each pixel.

    partial_means (N, runs, C) = sum over a program's pixels of x / P;  s (N, P) = gate(sum_c w x + bias).
    """
    sample = (tl.program_id(0) // runs).to(tl.int64)
    run = tl.program_id(0) % runs
    weight = _row(w, 0, C, MERGE != "channel", CHANNELS)
    total = tl.zeros([CHANNELS], tl.float32)
    for step in range(steps):
        first = (run * steps + step) * PIXELS
        offset, exists = _tile(sample, first, C, P, CHANNELS_LAST, PIXELS, CHANNELS)
        value = tl.load(x + offset, mask=exists, other=0.0).to(tl.float32)
        total += tl.sum(value, 0)
        if MERGE != "channel":
            score = tl.sum(value * weight, 1)
            if bias is not None:
                score += tl.load(bias).to(tl.float32)
            pixel = first + tl.arange(0, PIXELS)
            tl.store(s + sample * P + pixel, _activate(score, gain, ACTIVATION), mask=pixel < P)
    channel = tl.arange(0, CHANNELS)
    tl.store(partial_means + (sample * runs + run) * C + channel, total / P, mask=channel < C)


@triton.jit
def scale(
    x, c, s, y, C, P, runs, steps,
    MERGE: tl.constexpr, CHANNELS_LAST: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    """Read x, write y = x * merged(c, s)."""
    sample = (tl.program_id(0) // runs).to(tl.int64)
    run = tl.program_id(0) % runs
    c_row = _row(c, sample, C, MERGE != "spatial", CHANNELS)
    for step in range(steps):
        first = (run * steps + step) * PIXELS
        offset, exists = _tile(sample, first, C, P, CHANNELS_LAST, PIXELS, CHANNELS)
        s_column = _column(s, sample, first, P, MERGE != "channel", PIXELS)
        value = tl.load(x + offset, mask=exists, other=0.0).to(tl.float32)
        tl.store(y + offset, (value * _merged(c_row, s_column, MERGE)).to(y.dtype.element_ty), mask=exists)


@triton.jit
def reduce(
    x, g, c, s, partial_dc, partial_dw, partial_db, ds, C, P, runs, steps, gain,
    MERGE: tl.constexpr, ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    """Read x and g once for all gradients of the gates; m is the merged gate, ' the derivative by the score.

    partial_dc (N, runs, C) = c' sum_p g x dm/dc: of the channel gate's score;
    ds (N, P) = s' sum_c g x dm/ds: of the spatial gate's score; with it, while the pixels are still in registers,
    partial_dw (N, runs, C) = sum_p x ds and partial_db (N, runs) = sum_p ds: of its weight and bias.
    """
    sample = (tl.program_id(0) // runs).to(tl.int64)
    run = tl.program_id(0) % runs
    c_row = _row(c, sample, C, MERGE != "spatial", CHANNELS)
    dc = tl.zeros([CHANNELS], tl.float32)
    dw = tl.zeros([CHANNELS], tl.float32)
    db = tl.zeros([1], tl.float32)
    for step in range(steps):
        first = (run * steps + step) * PIXELS
        offset, exists = _tile(sample, first, C, P, CHANNELS_LAST, PIXELS, CHANNELS)
        s_column = _column(s, sample, first, P, MERGE != "channel", PIXELS)
        value = tl.load(x + offset, mask=exists, other=0.0).to(tl.float32)
        product = value * tl.load(g + offset, mask=exists, other=0.0).to(tl.float32)
        to_c, to_s = _shared(product, c_row, s_column, MERGE)
        dc += tl.sum(to_c, 0)
        if MERGE != "channel":
            score = tl.sum(to_s, 1)[:, None] * _slope(s_column, gain, ACTIVATION)
            pixel = first + tl.arange(0, PIXELS)[:, None]
            tl.store(ds + sample * P + pixel, score, mask=pixel < P)
            dw += tl.sum(value * score, 0)
            db += tl.sum(score, 0)
    channel = tl.arange(0, CHANNELS)
    place = (sample * runs + run) * C + channel
    tl.store(partial_dc + place, dc * tl.reshape(_slope(c_row, gain, ACTIVATION), [CHANNELS]), mask=channel < C)
    tl.store(partial_dw + place, dw, mask=channel < C)
    tl.store(partial_db + sample * runs + run + tl.arange(0, 1), db)


@triton.jit
def spread(
    g, c, s, w, ds, dmeans, gx, C, P, runs, steps,
    MERGE: tl.constexpr, CHANNELS_LAST: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    """Read g, write gx = g * merged(c, s) + w ds + dmeans / P: through the product, the scores and the means."""
    sample = (tl.program_id(0) // runs).to(tl.int64)
    run = tl.program_id(0) % runs
    c_row = _row(c, sample, C, MERGE != "spatial", CHANNELS)
    mean_row = _row(dmeans, sample, C, MERGE != "spatial", CHANNELS) / P
    weight = _row(w, 0, C, MERGE != "channel", CHANNELS)
    for step in range(steps):
        first = (run * steps + step) * PIXELS
        offset, exists = _tile(sample, first, C, P, CHANNELS_LAST, PIXELS, CHANNELS)
        s_column = _column(s, sample, first, P, MERGE != "channel", PIXELS)
        score_column = _column(ds, sample, first, P, MERGE != "channel", PIXELS)
        gradient = tl.load(g + offset, mask=exists, other=0.0).to(tl.float32)
        gradient = gradient * _merged(c_row, s_column, MERGE) + weight * score_column + mean_row
        tl.store(gx + offset, gradient.to(gx.dtype.element_ty), mask=exists)
