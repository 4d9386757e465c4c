"""Keyed words and normal numbers, beside PyTorch's own, which are not keyed."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ivn.benchmarks.harness.measure import Case
from ivn.benchmarks.ops.subjects import both_directions
from ivn.keys import Purpose, make_keys
from ivn.ops.random import (
    normal,
    normal_reference,
    random_words,
    random_words_reference,
)

# name, B, numbers per clip: the noise of stage one's masked patches
SIZES = {
    "cpu": [("tiny", 8, 408 * 588), ("base", 1, 3264 * 588)],
    "cuda": [("stage 1, 48 clips", 48, 3264 * 588)],
}


def cases(size: tuple, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    name, B, count = size
    keys = make_keys(1, 2, range(B)).to(device)

    def ours(keys: Tensor) -> Tensor:
        return normal(keys, Purpose.NOISE, count)

    def eager(keys: Tensor) -> Tensor:
        return normal_reference(keys, count, Purpose.NOISE << 24, torch.float32)

    yield from both_directions(
        f"normal, {name}",
        f"{B} x {count}",
        {"ours": ours, "eager": eager},
        [keys],
        dtype=torch.float32,
        moved=4 * B * count + keys.nbytes,
        others={"torch.randn": lambda: torch.randn(B, count, device=device)},
    )
    words = count // 588
    yield from both_directions(
        f"random_words, {name}",
        f"{B} x {words}",
        {
            "ours": lambda keys: random_words(keys, Purpose.TIMESTEP, words),
            "eager": lambda keys: random_words_reference(keys, words, Purpose.TIMESTEP << 24),
        },
        [keys],
        dtype=torch.float32,
        moved=8 * B * words + keys.nbytes,
        slack=0,
        others={"torch.randint": lambda: torch.randint(2**32, (B, words), device=device)},
    )
