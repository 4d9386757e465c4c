"""Draws keyed normal numbers inside kernels, with the same bits as csrc/random.h.

All operations are exact, correctly rounded, or explicit fused multiply-adds. A kernel that draws
is launched with `enable_fp_fusion=False`, since other fused products would change the last bit.
"""

import triton
import triton.language as tl


@triton.jit
def _minus_log(x, real: tl.constexpr):
    """Returns ``-log(x / 2^bits)`` for ``x = k + 1/2``."""
    LOG_TERMS: tl.constexpr = 10 if real == tl.float64 else 5
    BITS: tl.constexpr = 32 if real == tl.float64 else 23
    if real == tl.float64:
        bits = x.to(tl.int64, bitcast=True)
        exponent = ((bits + 0x00095F619980C433) >> 52) - 1023
        m = (bits - (exponent << 52)).to(tl.float64, bitcast=True)
        f = (m - 1) / (m + 1)
    else:
        bits = x.to(tl.int32, bitcast=True)
        exponent = ((bits + 0x004AFB0D) >> 23) - 127
        m = (bits - (exponent << 23)).to(tl.float32, bitcast=True)
        f = tl.div_rn(m - 1, m + 1)
    # log m = 2 artanh f
    s = f * f
    series = tl.full(x.shape, 2 / (2 * LOG_TERMS + 1), real)
    for i in tl.static_range(LOG_TERMS - 1, 0, -1):
        series = tl.fma(series, s, tl.full(x.shape, 2 / (2 * i + 1), real))
    log_m = tl.fma(f * s, series, 2 * f)
    ln2 = tl.full(x.shape, 0.693147180559945309417, real)
    return tl.fma((BITS - exponent).to(real), ln2, -log_m)


@triton.jit
def _normal_pair(word_u, word_v, real: tl.constexpr):
    """Returns two numbers by Box and Muller's transform of two words."""
    signed: tl.constexpr = tl.int64 if real == tl.float64 else tl.int32
    BITS: tl.constexpr = 32 if real == tl.float64 else 23
    TRIG_TERMS: tl.constexpr = 9 if real == tl.float64 else 5
    u = (word_u >> (32 - BITS)).to(signed).to(real) + 0.5
    twice = 2 * _minus_log(u, real)
    radius = tl.sqrt(twice) if real == tl.float64 else tl.sqrt_rn(twice)
    # 4 v = quarter + rest with |rest| <= 1/2, exactly.
    k = (word_v >> (32 - BITS)).to(signed)
    quarter = (k + (1 << (BITS - 3))) >> (BITS - 2)
    rest = ((k - (quarter << (BITS - 2))).to(real) + 0.5) * (2.0 ** (2 - BITS))
    x = rest * tl.full(rest.shape, 1.57079632679489661923, real)
    square = x * x
    one = tl.full(x.shape, 1.0, real)
    sine, cosine = one, one
    for i in tl.static_range(TRIG_TERMS, 0, -1):
        sine = tl.fma(-square * sine, tl.full(x.shape, 1 / (2 * i * (2 * i + 1)), real), one)
        cosine = tl.fma(-square * cosine, tl.full(x.shape, 1 / (2 * i * (2 * i - 1)), real), one)
    sine = sine * x
    swapped = (quarter & 1) != 0
    across, up = tl.where(swapped, sine, cosine), tl.where(swapped, cosine, sine)
    first = tl.where(((quarter + 1) & 2) != 0, -across, across)
    second = tl.where((quarter & 2) != 0, -up, up)
    return radius * first, radius * second


@triton.jit
def keyed_normals(key_ptr, purpose, block, real: tl.constexpr):
    """Returns the four numbers ``[G, 4]`` of each ``block`` ``[G]`` of words.

    ``key_ptr`` points at a key: seed, epoch, position, repeat, int64; ``purpose`` holds the
    purpose of the draws in its highest 8 bits and the layer in the others.
    """
    seed = tl.load(key_ptr)
    zero = tl.zeros_like(block).to(tl.uint32)
    sample = tl.load(key_ptr + 2).to(tl.uint32) + zero
    epoch = ((tl.load(key_ptr + 1) << 8) | tl.load(key_ptr + 3)).to(tl.uint32) + zero
    words = tl.philox(seed, block.to(tl.uint32), purpose.to(tl.uint32) + zero, sample, epoch)
    n0, n1 = _normal_pair(words[0], words[1], real)
    n2, n3 = _normal_pair(words[2], words[3], real)
    return tl.reshape(tl.join(tl.join(n0, n2), tl.join(n1, n3)), [block.shape[0], 4])
