"""Masks from keys: ``sample_tokens``, ``hide_blocks``, ``random_open_tokens``, ``other_tokens``."""

from collections.abc import Iterator

import torch

from ivn.benchmarks.harness.measure import Case
from ivn.benchmarks.ops.subjects import both_directions
from ivn.keys import make_keys
from ivn.ops import masking

# name, B, frames and side of the grid, tokens kept of a frame; frames, blocks, side of a block and
# tokens kept of a clip, for the masks of stage one and stage two
SIZES = {
    "cpu": [
        ("tiny", 8, 8, 8, 13, 8, 8, 3, 100),
        ("base", 2, 16, 16, 52, 32, 8, 6, 1600),
    ],
    "cuda": [
        ("base", 16, 16, 16, 52, 32, 8, 6, 1600),
    ],
}


def cases(size: tuple, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    name, B, T, side, kept, T2, count, block, kept2 = size
    L, N = side**2, T2 * side**2
    keys = make_keys(1, 2, range(B)).to(device)
    weights = torch.rand(B, T, L, device=device) + 1e-3
    exact = {"dtype": torch.float32, "slack": 0.0}

    yield from both_directions(
        f"sample_tokens, {name}",
        f"{B} x {T} x {kept} of {L}",
        {
            "ours": lambda weights, keys: masking.sample_tokens(weights, keys, kept),
            "eager": lambda weights, keys: masking.sample_tokens_reference(
                weights, keys, kept, True
            ),
        },
        [weights, keys],
        moved=weights.nbytes + 8 * B * T * kept,
        others={"torch.multinomial": lambda: _multinomial(weights, kept)},
        uncaptured={"torch.multinomial": "it looks at the weights there"},
        **exact,
    )

    blocks = {"count": count, "height": block, "width": block}
    yield from both_directions(
        f"hide_blocks, {name}",
        f"{B} x {side} x {side}",
        {
            "ours": lambda keys: masking.hide_blocks(keys, side, side, **blocks),
            "eager": lambda keys: masking.hide_blocks_reference(
                keys, side, side, *blocks.values(), 0
            ).bool(),
        },
        [keys],
        moved=keys.nbytes + B * L,
        uncompiled="its 64 attempts unroll into a graph of minutes",
        **exact,
    )

    hidden = masking.hide_blocks(keys, side, side, **blocks)
    yield from both_directions(
        f"random_open_tokens, {name}",
        f"{B} x {kept2} of {N}",
        {
            "ours": lambda hidden, keys: masking.random_open_tokens(hidden, keys, T2, kept2),
            "eager": lambda hidden, keys: masking.open_tokens_reference(
                hidden, keys, T2, kept2, True, 0
            ),
        },
        [hidden, keys],
        moved=hidden.nbytes + 8 * B * kept2,
        **exact,
    )

    index = masking.random_open_tokens(hidden, keys, T2, kept2)
    yield from both_directions(
        f"other_tokens, {name}",
        f"{B} x {N - kept2} of {N}",
        {
            "ours": lambda index: masking.other_tokens(index, N),
            "eager": lambda index: masking.other_tokens_reference(index, N),
        },
        [index],
        moved=8 * B * N,
        **exact,
    )


def _multinomial(weights: torch.Tensor, kept: int) -> torch.Tensor:
    B, T, L = weights.shape
    within = torch.multinomial(weights.flatten(0, 1), kept).sort(1).values.view(B, T, kept)
    return (within + L * torch.arange(T, device=weights.device)[:, None]).flatten(1)
