"""What kernels that normalise a row share; a program holds the whole row in registers."""

import triton
import triton.language as tl


@triton.jit
def layer_norm(x, inside, C, eps):
    """``(x - mean) / sqrt(variance + eps)``, 0 outside, and the factor; ``x`` is 0 outside."""
    centred = tl.where(inside, x - tl.sum(x) / C, 0.0)
    factor = tl.rsqrt(tl.sum(centred * centred) / C + eps)
    return centred * factor, factor


@triton.jit
def layer_norm_backward(grad, unit, factor, C):
    """The gradient of ``x`` from that of ``unit``; both are 0 outside."""
    level = tl.sum(grad) / C
    return (grad - level - unit * (tl.sum(grad * unit) / C)) * factor
