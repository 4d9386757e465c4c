"""Norms and launch options for kernels that hold whole rows in registers.

A backward pass, which sums gradients of weights over rows, has one wave of programs with many rows
each. Its loops load rows asynchronously, ``STAGES - 1`` ahead of the current one: a row's sums wait
for all its threads, and the memory would idle meanwhile.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_FEATURES = 4096  # several rows at a time must fit the registers of one program
# Warps on each multiprocessor in a backward pass: at 128 registers a thread they fill it. A test
# checks that kernels use no more registers than that, nor more shared memory than there is.
WARPS = 16


@triton.jit
def sums(a, b):
    """Returns the sums of two rows; threads wait for each other once instead of twice."""
    return tl.split(tl.sum(tl.join(a, b), 0))


@triton.jit
def layer_norm(x, inside, C, eps):
    """Returns ``(x - mean) / sqrt(variance + eps)`` and the factor; 0 outside, as ``x`` is."""
    centred = tl.where(inside, x - tl.sum(x) / C, 0.0)
    factor = tl.rsqrt(tl.sum(centred * centred) / C + eps)
    return centred * factor, factor


@triton.jit
def layer_norm_backward(grad, unit, factor, C):
    """Returns the gradient of ``x`` from that of ``unit``; both are 0 outside."""
    level, radial = sums(grad, grad * unit)
    return (grad - level / C - unit * (radial / C)) * factor


def row_options(operation: str, C: int) -> dict[str, int]:
    """Returns launch options for rows of ``C`` features; ValueError if they are too many."""
    if C > MAX_FEATURES:
        raise ValueError(f"{operation} takes at most {MAX_FEATURES} features, got {C}")
    block = triton.next_power_of_2(C)
    # Eight elements a thread: 16 bytes of bf16, the widest load there is.
    return {"BLOCK": block, "num_warps": max(1, block // 256)}


def backward_options(operation: str, x: Tensor) -> tuple[int, dict[str, int]]:
    """Returns how many programs share the rows of ``x`` ``[R, ..., C]``, and launch options."""
    options = row_options(operation, x.shape[-1])
    count = 1  # under the interpreter
    if x.is_cuda:
        count = torch.cuda.get_device_properties(x.device).multi_processor_count
    # Two rows of bf16 ahead are as many bytes as one of fp32.
    stages = 3 if x.element_size() == 2 else 2
    return min(len(x), count * WARPS // options["num_warps"]), {**options, "STAGES": stages}
