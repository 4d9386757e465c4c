"""Embeds pixels as tokens; only the patches that are kept are read."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.ops import gather_patches, gather_target_patches
from ivn.ops.patches import row_length

from .layers import RMSNorm, unit_rms
from .positions import Grid

EPS = 1e-6


def patch_grid(video: Tensor, patch_size: int) -> Grid:
    """Returns the frames, rows and columns of patches of a video, float or uint8."""
    if video.ndim != 5 or (video.shape[4] if video.dtype == torch.uint8 else video.shape[1]) != 3:
        raise ValueError(
            f"video is {video.dtype} {list(video.shape)}, expected uint8 [B, T, H, W, 3] or "
            "ImageNet-normalised float [B, 3, T, H, W]"
        )
    T, H, W = video.shape[1:4] if video.dtype == torch.uint8 else video.shape[2:5]
    if H % patch_size or W % patch_size:
        raise ValueError(
            f"frames are {H} x {W} pixels, expected multiples of the patch size {patch_size}"
        )
    if torch.jit.is_tracing():
        T, H, W = int(T), int(H), int(W)  # traced sizes are tensors, which cannot be a cache's key
    return T, H // patch_size, W // patch_size


def of_traced_size(video: Tensor) -> Tensor:
    """Returns ``video``, such that a program traced by torch.jit raises an error at other sizes.

    Otherwise as many tokens in another shape would get the positions of the traced example.
    """
    for axis, size in enumerate(video.shape[1:], 1):
        video = video.unflatten(axis, (int(size),))  # fails at other sizes
    return video


def end_to_end(video: Tensor) -> Tensor:
    """Returns the clips of a batch, in either layout, as one long clip."""
    if video.dtype == torch.uint8:
        return video.flatten(0, 1)[None]
    return video.transpose(1, 2).flatten(0, 1)[None].transpose(1, 2)


class PatchEmbed(nn.Module):
    """Dual-norm embedding: RMSNorm of the raw patch, projection, RMSNorm of the token.

    The first norm's weight is multiplied into the projection, so that the rows themselves need
    no gradient.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        shape = (1, patch_size, patch_size)
        self.proj = _PatchProjection(3, width, kernel_size=shape, stride=shape)
        self.norm_before = RMSNorm(3 * patch_size**2, EPS)
        self.norm = RMSNorm(width, EPS)

    def forward(self, video: Tensor, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns the tokens of the patches at ``index``.

        Args:
            video: ImageNet-normalised float ``[B, 3, T, H, W]``, or uint8 ``[B, T, H, W, 3]``.
            index: ``[B, K]`` int64 into the grid, time-major, then rows, then columns.
            dtype: dtype of the projection and of the result.

        Returns:
            ``[B, K, C]``.
        """
        if video.dtype == torch.uint8:
            rows = gather_patches(
                video,
                index,
                patch_size=self.patch_size,
                mean=IMAGENET_MEAN,
                std=IMAGENET_STD,
                eps=EPS,
                dtype=dtype,
            )
        else:
            patches = take_patches(video, index, self.patch_size)
            rows = self._padded(unit_rms(patches, EPS).to(dtype))
        # [C, 3, 1, p, p] -> [C, p, p, 3]: the layout of the rows, channels fastest
        weight = self.proj.weight.permute(0, 2, 3, 4, 1).flatten(1) * self.norm_before.weight
        return self.norm(F.linear(rows, self._padded(weight.to(dtype)), self.proj.bias.to(dtype)))

    def _padded(self, rows: Tensor) -> Tensor:
        """Returns ``[..., p * p * 3]`` with zeros after it, as long as rows of gathered patches."""
        return F.pad(rows, (0, row_length(self.patch_size) - rows.shape[-1]))


class PlainPatchEmbed(nn.Module):
    """Embedding by projection alone, InternVideo2's: :class:`PatchEmbed` without norms."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        shape = (1, patch_size, patch_size)
        self.proj = _PatchProjection(3, width, kernel_size=shape, stride=shape)

    def forward(self, video: Tensor, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns tokens ``[B, K, C]`` of the patches at ``index``; see :class:`PatchEmbed`."""
        rows = normalised_patches(video, index, self.patch_size, dtype)
        weight, bias = self.proj.weight, self.proj.bias
        return F.linear(rows, weight.flatten(1).to(dtype), bias.to(dtype))


def normalised_patches(video: Tensor, index: Tensor, patch_size: int, dtype: torch.dtype) -> Tensor:
    """Returns the normalised pixels of some patches, ``[B, K, 3 * p * p]``, channels slowest.

    Args:
        video: ImageNet-normalised float ``[B, 3, T, H, W]``, or uint8 ``[B, T, H, W, 3]``.
        index: ``[B, K]`` int64 into the grid.
        patch_size: side of a patch, p.
        dtype: number type of the result.
    """
    if video.dtype == torch.uint8:
        return gather_target_patches(
            video, index, patch_size=patch_size, mean=IMAGENET_MEAN, std=IMAGENET_STD, dtype=dtype
        )
    fastest = take_patches(video, index, patch_size).to(dtype)
    return fastest.unflatten(2, (-1, 3)).mT.flatten(2)


def take_patches(video: Tensor, index: Tensor, patch_size: int) -> Tensor:
    """Returns patches of ``[B, 3, T, H, W]`` floats: ``[B, K, p * p * 3]``, channels fastest."""
    T, h, w = patch_grid(video, patch_size)
    B, p = video.shape[0], patch_size
    grid = video.reshape(B, 3, T, h, p, w, p).permute(0, 2, 3, 5, 4, 6, 1)
    t, row, column = index // (h * w), index // w % h, index % w
    batch = torch.arange(B, device=index.device)[:, None]
    return grid[batch, t, row, column].flatten(2)


def normalised(video: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns uint8 ``[B, T, H, W, 3]`` as ImageNet-normalised ``[B, 3, T, H, W]``."""
    # Made on the host and copied: a tensor made on the GPU would wait for the copy.
    mean, std = (
        torch.tensor(values).to(video.device, non_blocking=True)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return ((video / 255 - mean) / std).permute(0, 4, 1, 2, 3).to(dtype)


class _PatchProjection(nn.Conv3d):
    """A projection with the keys and shape of a convolution; it never convolves."""

    bias: nn.Parameter

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draws weight and bias uniform in ``+-1 / sqrt(inputs)``, like PyTorch's convolutions."""
        bound = self.weight[0].numel() ** -0.5
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)
