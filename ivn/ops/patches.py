"""``ivn::gather_patches``: normalises the kept patches of a video, and no others."""

import ctypes
from collections.abc import Sequence
from enum import IntEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from ._dtype import compiled_dtype
from ._library import TYPES, call, check_index
from ._register import operation

MAX_PATCH_SIZE = 64  # kMostPatchSize of csrc/patches.h


class Layout(IntEnum):
    """The contents of a row: IVN_EMBEDDING_ROWS and IVN_TARGET_ROWS of ivn.h."""

    EMBEDDING = 0
    TARGET = 1


_OPS = {Layout.EMBEDDING: "gather_patches", Layout.TARGET: "gather_target_patches"}


def row_length(patch_size: int, layout: int = Layout.EMBEDDING) -> int:
    """Returns the number of elements of a row: a patch's pixels, padded for the embedding to 8s."""
    # Rows are read and written in packs of 16 bytes; the zeros at their ends have no parameters.
    pixels = 3 * patch_size**2
    return -(-pixels // 8) * 8 if layout == Layout.EMBEDDING else pixels


def gather_patches(
    video: Tensor,
    index: Tensor,
    *,
    patch_size: int = 14,
    mean: Sequence[float],
    std: Sequence[float],
    eps: float = 1e-6,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    r"""Returns the patches at ``index`` as rows for the embedding's matrix product.

    With the normalised pixels :math:`x = (v / 255 - \mathrm{mean}_c) / \mathrm{std}_c`, a row is
    :math:`x / \sqrt{\overline{x^2} + \epsilon}`: an RMSNorm whose weight the embedding applies.

    Args:
        video: uint8 ``[B, T, H, W, 3]``; ``H`` and ``W`` multiples of ``patch_size``.
        index: int64 ``[B, K]`` into the grid ``(T, H / p, W / p)`` in raster order, columns
            fastest, none twice in a row. On a CPU another value is a ValueError; a GPU checks only
            under ``IVN_CHECK_INDEX=1`` (:func:`check_index`).
        patch_size: side of a patch, ``p``, at most 64.
        mean, std: mean and standard deviation of each channel, in units of 255.
        dtype: dtype of the rows: fp32, bf16, fp16 or fp64. Computed in fp32, in fp64 for fp64.

    Returns:
        ``[B, K, row_length(p)]``: ``p * p * 3`` elements in the order (line, column, channel),
        channels fastest, then zeros up to a multiple of 8, so that a row of any dtype is a whole
        number of 16-byte packs. There is no gradient, since pixels are integers.
    """
    return _gather(video, index, patch_size, mean, std, eps, dtype, Layout.EMBEDDING)


def gather_target_patches(
    video: Tensor,
    index: Tensor,
    *,
    patch_size: int = 14,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Returns the normalised pixels of the patches at ``index``, as targets of a decoder.

    Unlike :func:`gather_patches` it does not divide by the root mean square and does not pad, and
    elements are in the order (channel, line, column), channels slowest: ``[B, K, 3 * p * p]``.
    """
    return _gather(video, index, patch_size, mean, std, 0.0, dtype, Layout.TARGET)


def gather_patches_reference(
    video: Tensor,
    index: Tensor,
    patch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    eps: float,
    dtype: torch.dtype,
    layout: int,
) -> Tensor:
    """Computes ``ivn::gather_patches`` in plain PyTorch."""
    B, T, H, W, _ = video.shape
    p, real = patch_size, torch.float64 if dtype == torch.float64 else torch.float32
    pixels = (video.to(real) / 255 - video.new_tensor(mean, dtype=real)) / video.new_tensor(
        std, dtype=real
    )
    grid = pixels.reshape(B, T, H // p, p, W // p, p, 3).permute(0, 1, 2, 4, 3, 5, 6)
    patches = grid.flatten(1, 3)
    kept = patches[torch.arange(B, device=index.device)[:, None], index]
    if layout == Layout.TARGET:
        return kept.movedim(-1, 2).flatten(2).to(dtype)
    rows = kept.flatten(2)
    rows = rows / (rows.square().mean(-1, keepdim=True) + eps).sqrt()
    return F.pad(rows, (0, row_length(p, layout) - rows.shape[2])).to(dtype)


@operation(
    check=lambda video, index, patch_size, layout: check_index(
        _OPS[Layout(layout)],
        index,
        video.shape[1] * (video.shape[2] // patch_size) * (video.shape[3] // patch_size),
    ),
    fake=lambda video, index, patch_size, dtype, layout: video.new_empty(
        *index.shape, row_length(patch_size, layout), dtype=dtype
    ),
)
def _gather_patches(
    video: Tensor,
    index: Tensor,
    patch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    eps: float,
    dtype: torch.dtype,
    layout: int,
) -> Tensor:
    B, T, H, W, _ = video.shape
    K = index.shape[1]
    rows = video.new_empty(B, K, row_length(patch_size, layout), dtype=dtype)
    scale = [1 / (255 * s) for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    affine = (ctypes.c_double * 6)(*scale, *shift)
    sizes = (B, T, H, W, K, patch_size)
    call(
        "ivn_gather_patches",
        video.device,
        *(video, index, rows, *sizes, ctypes.addressof(affine), eps, TYPES[dtype], layout),
    )
    return rows


def _gather(
    video: Tensor,
    index: Tensor,
    patch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    eps: float,
    dtype: torch.dtype,
    layout: Layout,
) -> Tensor:
    op = _OPS[layout]
    if video.dtype != torch.uint8 or video.ndim != 5 or video.shape[4] != 3:
        raise ValueError(
            f"{op}: video is {video.dtype} {list(video.shape)}, expected uint8 [B, T, H, W, 3]"
        )
    if index.dtype != torch.int64 or index.ndim != 2 or index.shape[0] != video.shape[0]:
        raise ValueError(
            f"{op}: index is {index.dtype} {list(index.shape)}, expected int64 "
            f"[{video.shape[0]}, K]"
        )
    if index.device != video.device:
        raise ValueError(f"{op}: index is on {index.device} but video is on {video.device}")
    if not 0 < patch_size <= MAX_PATCH_SIZE:
        raise ValueError(f"{op}: patch_size is {patch_size}, expected 1 to {MAX_PATCH_SIZE}")
    H, W = video.shape[2:4]
    if H % patch_size or W % patch_size:
        raise ValueError(
            f"{op}: frames are {H} x {W}, expected multiples of patch_size {patch_size}"
        )
    if len(mean) != 3 or len(std) != 3 or not all(s > 0 for s in std):
        raise ValueError(
            f"{op}: mean is {mean} and std {std}, expected three values each, std positive"
        )
    if dtype not in (*TYPES, torch.float16):
        raise ValueError(f"{op}: dtype is {dtype}, expected fp32, bf16, fp16 or fp64")
    arguments = (patch_size, list(mean), list(std), eps, compiled_dtype(dtype), int(layout))
    return _gather_patches(video.contiguous(), index.contiguous(), *arguments).to(dtype)
