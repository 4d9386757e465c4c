"""The denoiser's adaptive LayerNorms: ``modulate`` and ``gated_modulate`` with their gradients."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.benchmarks.harness.measure import Case
from ivn.benchmarks.ops.subjects import ROUNDINGS, both_directions, total_bytes
from ivn.ops.modulation import (
    gated_modulate,
    gated_modulate_reference,
    modulate,
    modulate_reference,
)

EPS = 1e-6
# name, rows, features: stage one's masked tokens in the diffusion decoder, 16 clips on a GPU; the
# presets have two widths
SIZES = {
    "cpu": [("tiny", 3264, 640), ("base", 3264, 1536)],
    "cuda": [("stage 1", 16 * 3264, 1536), ("stage 1 tiny", 16 * 408, 640)],
}


def eager_modulate(x: Tensor, shift: Tensor, scale: Tensor, weight: Tensor, bias: Tensor):
    return modulate_reference(x, shift, scale, torch.stack([weight, bias]), EPS)


def library_modulate(x: Tensor, shift: Tensor, scale: Tensor, weight: Tensor, bias: Tensor):
    """Computes ``modulate`` with PyTorch's own fused LayerNorm."""
    normed = F.layer_norm(x, weight.shape, weight.to(x.dtype), bias.to(x.dtype), EPS)
    return normed * (1 + scale) + shift


def eager_gated(x: Tensor, gate: Tensor, branch: Tensor, *modulation: Tensor):
    shift, scale, weight, bias = modulation
    affine = torch.stack([weight, bias])
    return gated_modulate_reference(x, gate, branch, shift, scale, affine, EPS)


def library_gated(x: Tensor, gate: Tensor, branch: Tensor, *modulation: Tensor):
    stream = x + gate * branch
    return stream, library_modulate(stream, *modulation)


def cases(size: tuple, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    name, R, W = size
    x, gate, branch, shift, scale = (0.5 * torch.randn(R, W, device=device) for _ in range(5))
    weight, bias = (1 + 0.1 * torch.randn(2, W, device=device)).unbind()
    x, gate, branch, shift, scale = (one.to(dtype) for one in (x, gate, branch, shift, scale))
    row, vectors = x.nbytes, total_bytes(weight, bias)
    # Gradients of weight and bias are sums over all rows, in any order.
    sums = {"slack_back": max(ROUNDINGS, R**0.5)}
    yield from both_directions(
        f"modulate, {name}",
        f"{R} x {W}",
        {
            "ours": lambda *given: modulate(*given, eps=EPS),
            "eager": eager_modulate,
            "F.layer_norm": library_modulate,
        },
        [x, shift, scale, weight, bias],
        dtype=dtype,
        moved=4 * row + vectors,
        trained=[0, 1, 2, 3, 4],
        # Read: gradient, x, scale. Written: those of x and scale; the shift's is the incoming one.
        moved_back=5 * row + vectors,
        **sums,
    )
    yield from both_directions(
        f"gated_modulate, {name}",
        f"{R} x {W}",
        {
            "ours": lambda *given: gated_modulate(*given, eps=EPS),
            "eager": eager_gated,
            "F.layer_norm": library_gated,
        },
        [x, gate, branch, shift, scale, weight, bias],
        dtype=dtype,
        moved=7 * row + vectors,
        trained=[0, 1, 2, 3, 4, 5, 6],
        # Read: two gradients, stream, gate, branch, scale. Written: gradients of all but the shift.
        moved_back=10 * row + vectors,
        **sums,
    )
