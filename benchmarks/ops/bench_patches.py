"""Patches of uint8 video as rows: ``gather_patches`` and ``gather_target_patches``."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.benchmarks.harness.measure import Case
from ivn.benchmarks.ops.bench_tokens import random_index
from ivn.benchmarks.ops.subjects import both_directions
from ivn.data.batch import IMAGENET_MEAN as MEAN
from ivn.data.batch import IMAGENET_STD as STD
from ivn.ops import gather_patches, gather_target_patches
from ivn.ops.patches import row_length

PATCH, EPS = 14, 1e-6
# name, B, T, size, patches kept of a frame, layout: stage one's visible patches and its targets
SIZES = {
    "cpu": [
        ("tiny", 8, 8, 112, 13, "embedding"),
        ("tiny", 8, 8, 112, 51, "target"),
        ("base", 2, 16, 224, 52, "embedding"),
        ("base", 2, 16, 224, 204, "target"),
    ],
    "cuda": [
        ("stage 1", 16, 16, 224, 52, "embedding"),
        ("stage 2 teacher", 24, 32, 224, 256, "embedding"),
        ("stage 1", 16, 16, 224, 204, "target"),
    ],
}


def embedding_rows(rows: Tensor) -> Tensor:
    """Divides rows by their root mean square, and pads them to whole packs of 16 bytes."""
    unit = rows * (rows.square().mean(-1, keepdim=True) + EPS).rsqrt()
    return F.pad(unit, (0, row_length(PATCH) - unit.shape[2]))


def kept_first(dtype: torch.dtype, layout: str, video: Tensor, index: Tensor, affine: Tensor):
    """Gathers bytes before anything is computed: plain PyTorch at its best."""
    B, T, H, W, _ = video.shape
    grid = video.view(B, T, H // PATCH, PATCH, W // PATCH, PATCH, 3).permute(0, 1, 2, 4, 3, 5, 6)
    time, line, column = (
        index // (H // PATCH * (W // PATCH)),
        index // (W // PATCH) % (H // PATCH),
        index % (W // PATCH),
    )
    kept = grid[torch.arange(B, device=index.device)[:, None], time, line, column]
    pixels = (kept.float() / 255 - affine[0]) / affine[1]
    if layout == "target":
        return pixels.movedim(-1, 2).flatten(2).to(dtype)
    return embedding_rows(pixels.flatten(2)).to(dtype)


def whole_video(dtype: torch.dtype, layout: str, video: Tensor, index: Tensor, affine: Tensor):
    """Normalises everything, then drops most of it, like the released code."""
    B, T, H, W, _ = video.shape
    pixels = (video.float() / 255 - affine[0]) / affine[1]
    grid = pixels.view(B, T, H // PATCH, PATCH, W // PATCH, PATCH, 3).permute(0, 1, 2, 4, 3, 5, 6)
    patches = grid.flatten(1, 3)
    rows = (patches.movedim(4, 2) if layout == "target" else patches).flatten(2)
    if layout == "embedding":
        rows = embedding_rows(rows)
    return rows.to(dtype).gather(1, index[..., None].expand(-1, -1, rows.shape[2]))


def cases(size: tuple, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    name, B, T, side, kept, layout = size
    video = torch.randint(256, (B, T, side, side, 3), dtype=torch.uint8, device=device)
    frame = (side // PATCH) ** 2
    index = random_index(B, T * frame, T * kept, device)
    affine = torch.tensor([MEAN, STD], device=device)
    # Targets of the diffusion decoder are fp32.
    made = dtype if layout == "embedding" else torch.float32

    def ours(video: Tensor, index: Tensor, affine: Tensor) -> Tensor:
        if layout == "target":
            return gather_target_patches(video, index, mean=MEAN, std=STD, dtype=made)
        return gather_patches(video, index, mean=MEAN, std=STD, eps=EPS, dtype=made)

    functions = {
        "ours": ours,
        "eager": partial(kept_first, made, layout),
        "whole video": partial(whole_video, made, layout),
    }
    read = index.numel() * 3 * PATCH**2
    length = row_length(PATCH) if layout == "embedding" else 3 * PATCH**2
    yield from both_directions(
        f"{layout} rows, {name}",
        f"{B} x {T * kept} of {T * frame} x {length}",
        functions,
        [video, index, affine],
        dtype=made,
        moved=read + index.numel() * length * made.itemsize + index.nbytes,
    )
