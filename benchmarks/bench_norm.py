"""RMSNorms fused with what surrounds them: ``add_norm`` and ``qk_norm`` with their gradients."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.benchmarks.measure import Case
from ivn.benchmarks.subjects import ROUNDINGS, total_bytes
from ivn.benchmarks.subjects import cases as both_directions
from ivn.ops.norm import add_norm, add_norm_reference, qk_norm, qk_norm_reference

EPS = 1e-6
# name, rows, features: stage one's visible tokens, and whole clips; "huge" is stage two's teacher
SIZES = {
    "cpu": [("tiny", 864, 192), ("base", 1672, 768)],
    "cuda": [
        ("stage 1 base", 13376, 768),
        ("stage 1 large", 13376, 1024),
        ("stage 2 huge teacher", 131136, 1408),
    ],
}


def eager_qk_norm(qkv: Tensor, q_weight: Tensor, k_weight: Tensor) -> Tensor:
    weights = torch.stack([q_weight, k_weight])
    return qk_norm_reference(qkv.unflatten(-1, (3, -1)), weights, EPS).flatten(1)


def library_add_norm(x: Tensor, branch: Tensor, scale: Tensor, drop: Tensor, weight: Tensor):
    """With PyTorch's own fused RMSNorm."""
    stream = x + branch * scale.to(branch.dtype) * drop[:, None].to(branch.dtype)
    return stream, F.rms_norm(stream, weight.shape, weight.to(x.dtype), EPS)


def library_qk_norm(qkv: Tensor, q_weight: Tensor, k_weight: Tensor) -> Tensor:
    query, key, value = qkv.chunk(3, dim=-1)
    normed = [
        F.rms_norm(one, weight.shape, weight.to(qkv.dtype), EPS)
        for one, weight in ((query, q_weight), (key, k_weight))
    ]
    return torch.cat([*normed, value], dim=-1)


def cases(size: tuple, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    name, R, C = size
    x, branch = torch.randn(2, R, C, device=device).to(dtype).unbind()
    scale, weight = (1 + 0.1 * torch.randn(2, C, device=device)).unbind()
    drop = torch.ones(R, device=device)
    row = total_bytes(x)
    # Gradients of weights are sums over all rows, in whatever order: their rounding grows so.
    slack_back = max(ROUNDINGS, R**0.5)
    yield from both_directions(
        f"add_norm, {name}",
        f"{R} x {C}",
        {
            "ours": partial(add_norm, eps=EPS),
            "eager": partial(add_norm_reference, eps=EPS),
            "F.rms_norm": library_add_norm,
        },
        [x, branch, scale, drop, weight],
        dtype=dtype,
        moved=4 * row,
        trained=[0, 1, 2, 4],
        # Read: two gradients, the stream, the branch. Written: two gradients.
        moved_back=6 * row,
        slack_back=slack_back,
    )
    del x, branch
    qkv = torch.randn(R, 3 * C, device=device).to(dtype)
    yield from both_directions(
        f"qk_norm, {name}",
        f"{R} x 3 x {C}",
        {
            "ours": partial(qk_norm, eps=EPS),
            "eager": eager_qk_norm,
            "F.rms_norm": library_qk_norm,
        },
        [qkv, scale, weight],
        dtype=dtype,
        moved=6 * row,
        trained=[0, 1, 2],
        # The gradient in and out; of the input, queries and keys alone.
        moved_back=8 * row,
        slack_back=slack_back,
    )


if __name__ == "__main__":
    from ivn.benchmarks.ops import main

    raise SystemExit(main(only=("norm",)))
