"""Absolute positions of a (time, row, column) grid of tokens, and their interpolation."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int, int]  # frames, rows, columns


def sincos_table(width: int, grid: Grid) -> Tensor:
    """Returns sines and cosines of positions, ``[frames * rows * columns, width]`` fp32.

    The first quarter of the features encodes time; of the rest, the first half the column and
    the second the row. Each part is all sines, then all cosines, of ``position / 10000 ** (k/K)``.
    """
    if width % 16:
        raise ValueError(f"width {width} is not a multiple of 16, which the position table needs")
    frames, rows, columns = (torch.arange(n, dtype=torch.float64) for n in grid)
    t, y, x = torch.meshgrid(frames, rows, columns, indexing="ij")
    spatial = width * 3 // 8
    parts = [_sincos(t, width // 4), _sincos(x, spatial), _sincos(y, spatial)]
    return torch.cat([part.flatten(0, 2) for part in parts], dim=1).float()


def _sincos(position: Tensor, width: int) -> Tensor:
    K = width // 2
    angle = position[..., None] * 10000.0 ** (-torch.arange(K, dtype=torch.float64) / K)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class GridPositions:
    """Interpolates a learnable table of positions from its own grid to others.

    The interpolation is linear in time and bicubic in space, neither aligned at the corners. It is
    a fixed linear map, so the table learns at every grid. Without gradients the result is kept.
    Rows in front of the grid, one per cls token, are never interpolated.
    """

    def __init__(self, own: Grid) -> None:
        self.own = own
        self._kept: dict[Grid, tuple[tuple, Tensor]] = {}

    def __call__(self, table: Tensor, grid: Grid) -> Tensor:
        """Returns ``table`` ``[1, extra + N_own, C]`` at ``grid``: ``[extra + N, C]``."""
        if grid == self.own:
            return table[0]
        learning = torch.is_grad_enabled() and table.requires_grad
        # A program being exported has no values to keep.
        if learning or torch.compiler.is_exporting():
            return resize_table(table, self.own, grid)
        state = (table._version, table.data_ptr(), table.dtype, table.device)
        if self._kept.get(grid, (None,))[0] != state:
            self._kept[grid] = (state, resize_table(table, self.own, grid))
        return self._kept[grid][1]


def resize_table(table: Tensor, own: Grid, grid: Grid) -> Tensor:
    """Returns ``table`` ``[1, extra + N_own, C]`` of ``own`` at ``grid``, ``[extra + N, C]``."""
    extra = table.shape[1] - own[0] * own[1] * own[2]
    tokens = table[0, extra:].unflatten(0, own)
    kept = interpolation_maps
    maps_of = kept.__wrapped__ if torch.compiler.is_exporting() else kept
    maps = maps_of(own, grid, table.device, table.dtype)
    for axis, matrix in enumerate(maps):
        if own[axis] != grid[axis]:
            tokens = torch.tensordot(matrix, tokens, dims=([1], [axis])).movedim(0, axis)
    return torch.cat([table[0, :extra], tokens.flatten(0, 2)])


@functools.lru_cache(maxsize=64)
def interpolation_maps(
    own: Grid, grid: Grid, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the matrices ``[new, old]`` that interpolate time, rows and columns."""
    with torch.no_grad():
        time = F.interpolate(
            torch.eye(own[0], dtype=torch.float64)[None], size=grid[0], mode="linear"
        )
        rows, columns = (
            F.interpolate(
                torch.eye(old, dtype=torch.float64)[None, :, :, None], size=(new, 1), mode="bicubic"
            )[..., 0]
            for old, new in zip(own[1:], grid[1:], strict=True)
        )
        time, rows, columns = (m[0].T.contiguous().to(device, dtype) for m in (time, rows, columns))
    return time, rows, columns


def reset_table(table: Tensor, grid: Grid) -> None:
    """Fills ``table`` ``[1, extra + N, C]`` with zeros in front, then :func:`sincos_table`."""
    with torch.no_grad():
        values = sincos_table(table.shape[2], grid)
        table[0] = torch.cat([torch.zeros(table.shape[1] - len(values), table.shape[2]), values])
