"""Moving token rows: ``gather_tokens`` and its gradient."""

from collections.abc import Iterator

import torch

from ivn.benchmarks.measure import Case
from ivn.benchmarks.subjects import cases as both_directions
from ivn.ops import gather_tokens
from ivn.ops.tokens import gather_tokens_reference

# name, B, N, D, kept: stage one's visible and masked tokens, and stage two's masked ones
SIZES = {
    "cpu": [("tiny", 8, 512, 192, 104), ("base", 2, 4096, 768, 832)],
    "cuda": [
        ("stage 1 base", 16, 4096, 768, 832),
        ("stage 1 base 75%", 16, 4096, 768, 1024),
        ("stage 1 huge", 16, 4096, 1408, 832),
        ("stage 2 base masked", 16, 8192, 768, 6552),
        ("stage 2 huge masked", 16, 8192, 1408, 6552),
    ],
}


def cases(size: tuple, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    name, B, N, D, kept = size
    tokens = torch.randn(B, N, D, device=device).to(dtype)
    index = random_index(B, N, kept, device)
    rows = (index + N * torch.arange(B, device=device)[:, None]).flatten()

    def index_select(tokens: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return tokens.view(B * N, D).index_select(0, rows).view(B, kept, D)

    kept_bytes = B * kept * D * dtype.itemsize
    yield from both_directions(
        f"gather_tokens, {name}",
        f"{B} x {kept} of {N} x {D}",
        {"ours": gather_tokens, "eager": gather_tokens_reference, "index_select": index_select},
        [tokens, index],
        dtype=dtype,
        moved=2 * kept_bytes + index.nbytes,
        slack=0,
        trained=[0],
        moved_back=kept_bytes + index.nbytes + tokens.nbytes,
        slack_back=0,
    )


def random_index(B: int, N: int, kept: int, device: torch.device) -> torch.Tensor:
    """Ascending tokens of each row, ``[B, kept]``."""
    return torch.rand(B, N, device=device).argsort(1)[:, :kept].sort(1).values


if __name__ == "__main__":
    from ivn.benchmarks.ops import main

    raise SystemExit(main(only=("tokens",)))
