"""RMSNorms alone and fused: ``rms_norm``, ``add_norm`` and ``qk_norm`` with their gradients."""

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.benchmarks.harness.measure import Case
from ivn.benchmarks.ops.subjects import ROUNDINGS, both_directions
from ivn.ops.norm import (
    add_norm,
    add_norm_reference,
    qk_norm,
    qk_norm_reference,
    rms_norm,
    rms_norm_reference,
)

EPS = 1e-6
RMSNorm = Callable[[Tensor, Tensor], Tensor]
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


def torch_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, EPS)


def liger_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    # Not in place, which would overwrite the incoming gradient.
    return LigerRMSNormFunction.apply(x.contiguous(), weight, EPS, 0.0, "llama", False)


def flash_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    from flash_attn.ops.triton.layer_norm import rms_norm_fn

    return rms_norm_fn(x, weight, None, eps=EPS)


def library_norms(device: torch.device) -> dict[str, RMSNorm]:
    """Returns the fused RMSNorms of installed libraries."""
    found: dict[str, RMSNorm] = {"F.rms_norm": torch_rms_norm}
    if device.type == "cuda":
        others = {"liger_kernel": liger_rms_norm, "flash_attn": flash_rms_norm}
        found |= {name: f for name, f in others.items() if importlib.util.find_spec(name)}
    return found


def cast_norm(norm: RMSNorm, x: Tensor, weight: Tensor) -> Tensor:
    return norm(x, weight.to(x.dtype))


def library_add_norm(
    norm: RMSNorm, x: Tensor, branch: Tensor, scale: Tensor, drop: Tensor, weight: Tensor
):
    stream = x + branch * scale.to(branch.dtype) * drop[:, None].to(branch.dtype)
    return stream, cast_norm(norm, stream, weight)


def library_qk_norm(norm: RMSNorm, qkv: Tensor, q_weight: Tensor, k_weight: Tensor) -> Tensor:
    query, key, value = qkv.chunk(3, dim=-1)
    normed = [cast_norm(norm, *pair) for pair in ((query, q_weight), (key, k_weight))]
    return torch.cat([*normed, value], dim=-1)


def cases(size: tuple, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    name, R, C = size
    x, branch = torch.randn(2, R, C, device=device).to(dtype).unbind()
    scale, weight = (1 + 0.1 * torch.randn(2, C, device=device)).unbind()
    drop = torch.ones(R, device=device)
    row, norms = x.nbytes, library_norms(device)
    # Gradients of weights are sums over all rows, in any order, so their rounding error grows.
    slack_back = max(ROUNDINGS, R**0.5)
    yield from both_directions(
        f"rms_norm, {name}",
        f"{R} x {C}",
        {
            "ours": partial(rms_norm, eps=EPS, dtype=dtype),
            "eager": partial(rms_norm_reference, eps=EPS, dtype=dtype),
            **{library: partial(cast_norm, norm) for library, norm in norms.items()},
        },
        [x, weight],
        dtype=dtype,
        moved=2 * row,
        trained=[0, 1],
        moved_back=3 * row,
        slack_back=slack_back,
    )
    yield from both_directions(
        f"add_norm, {name}",
        f"{R} x {C}",
        {
            "ours": partial(add_norm, eps=EPS),
            "eager": partial(add_norm_reference, eps=EPS),
            **{library: partial(library_add_norm, norm) for library, norm in norms.items()},
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
            **{library: partial(library_qk_norm, norm) for library, norm in norms.items()},
        },
        [qkv, scale, weight],
        dtype=dtype,
        moved=6 * row,
        trained=[0, 1, 2],
        # The gradient in and out; of the input only queries and keys.
        moved_back=8 * row,
        slack_back=slack_back,
    )
