"""Rows of tokens: ``gather_tokens``, ``add_positions`` and ``place_tokens``, with gradients."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ivn.benchmarks.harness.measure import Case
from ivn.benchmarks.ops.subjects import ROUNDINGS, both_directions, total_bytes
from ivn.ops import add_positions, gather_tokens, place_tokens
from ivn.ops.tokens import (
    add_positions_reference,
    gather_tokens_reference,
    place_tokens_reference,
)

HEADS = 4
# name, B, N, D, kept: tokens that stage one sees, and tokens that both stages predict
SIZES = {
    "cpu": [("tiny", 8, 512, 192, 104), ("base", 2, 4096, 768, 832)],
    "cuda": [
        ("stage 1 base", 16, 4096, 768, 832),
        ("stage 1 huge 75%", 16, 4096, 1408, 1024),
        ("stage 2 huge masked", 16, 8192, 1408, 6552),
    ],
}


def cases(size: tuple, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    name, B, N, D, kept = size
    shape = f"{B} x {kept} of {N} x {D}"
    index = random_index(B, N, kept, device)
    yield from gathered(f"gather_tokens, {name}", shape, (B, N, D), index, dtype)

    positions, heads = (
        torch.randn(HEADS + N, D, device=device),
        torch.randn(HEADS, D, device=device),
    )
    tokens = torch.randn(B, kept, D, device=device).to(dtype)
    places = index + HEADS
    # The table's gradient is a sum over the clips, that of the heads and of the mask token over
    # many more rows, in any order.
    sums = {"slack_back": max(ROUNDINGS, (B * N) ** 0.5)}
    out = B * (HEADS + kept) * D * dtype.itemsize
    yield from both_directions(
        f"add_positions, {name}",
        shape,
        {
            "ours": lambda *given: add_positions(*given, dtype=dtype),
            "eager": lambda *given: add_positions_reference(*given, 1, dtype),
        },
        [tokens, places, positions, heads],
        dtype=dtype,
        moved=total_bytes(tokens, places, positions, heads) + out,
        trained=[0, 2, 3],
        # The tokens' gradient is a part of the incoming one: no bytes are moved.
        moved_back=out + total_bytes(places, positions, heads),
        **sums,
    )

    slots = torch.cat([torch.arange(HEADS, device=device).expand(B, -1), places], dim=1)
    tokens = torch.randn(B, HEADS + kept, D, device=device).to(dtype)
    moved = total_bytes(tokens, slots, positions) + B * (HEADS + N) * D * dtype.itemsize
    yield from both_directions(
        f"place_tokens, {name}",
        shape,
        {
            "ours": place_tokens,
            "eager": lambda *given: place_tokens_reference(*given, 1),
        },
        [tokens, slots, heads[0], positions],
        dtype=dtype,
        moved=moved,
        trained=[0, 2, 3],
        moved_back=moved,
        **sums,
    )


def gathered(
    case: str, shape: str, sizes: tuple[int, int, int], index: Tensor, dtype: torch.dtype
) -> Iterator[Case]:
    B, N, D = sizes
    kept = index.shape[1]
    tokens = torch.randn(sizes, device=index.device).to(dtype)
    rows = (index + N * torch.arange(B, device=index.device)[:, None]).flatten()

    def index_select(tokens: Tensor, index: Tensor) -> Tensor:
        return tokens.view(B * N, D).index_select(0, rows).view(B, kept, D)

    kept_bytes = B * kept * D * dtype.itemsize
    yield from both_directions(
        case,
        shape,
        {"ours": gather_tokens, "eager": gather_tokens_reference, "index_select": index_select},
        [tokens, index],
        dtype=dtype,
        moved=2 * kept_bytes + index.nbytes,
        slack=0,
        trained=[0],
        moved_back=kept_bytes + index.nbytes + tokens.nbytes,
        slack_back=0,
    )


def random_index(B: int, N: int, kept: int, device: torch.device) -> Tensor:
    """Draws ascending tokens of each row, ``[B, kept]``."""
    return torch.rand(B, N, device=device).argsort(1)[:, :kept].sort(1).values
