"""Heads that carry the student's visible tokens into a teacher's feature space."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Generator, Tensor, nn

from ivn.ops import add_positions

from .encoder import CLS_TOKENS
from .layers import ProjectionHead
from .positions import Grid, GridPositions, reset_table


class Alignment(nn.Module):
    """One head for each aligned block, with positions of their own, and one for the pooled vector.

    Legend: B batch, V visible tokens, C encoder width, D teacher width, P pooled width.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        teacher_width: int,
        pool_width: int,
        teacher_pool_width: int,
        grid: Grid,
    ) -> None:
        """Builds the heads.

        With ``pool_width`` 0 there is no pooled head, with ``layers`` 0 there are no positions.
        With ``teacher_pool_width`` 0 pooled vectors are as wide as the teacher's tokens.
        """
        super().__init__()
        self.grid = grid
        if layers:
            N = grid[0] * grid[1] * grid[2]
            self.pos_embed = nn.Parameter(torch.empty(1, CLS_TOKENS + N, width))
        self.layers = nn.ModuleList(ProjectionHead(width, teacher_width) for _ in range(layers))
        goal = teacher_pool_width or teacher_width
        self.pooled = ProjectionHead(pool_width, goal) if pool_width else None
        self._positions = GridPositions(grid)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        if len(self.layers):
            reset_table(self.pos_embed, self.grid)

    def forward(self, features: list[Tensor], visible_index: Tensor, grid: Grid) -> list[Tensor]:
        """Returns the input ``[B, V, C]`` of each head for its block's output ``[B, 4 + V, C]``."""
        if not features:
            return []
        table, rows = self._positions(self.pos_embed, grid), visible_index + CLS_TOKENS

        def placed(feature: Tensor) -> Tensor:
            tokens = feature[:, CLS_TOKENS:]
            return add_positions(tokens, rows, table, table[:0], dtype=feature.dtype)

        return [placed(feature) for feature in features]

    def distances(self, tokens: Sequence[Tensor], targets: Sequence[Tensor]) -> list[Tensor]:
        """Returns each head's cosine distances ``[B, V]`` from ``[B, V, C]`` to ``[B, V, D]``."""
        heads = cast(Iterable[ProjectionHead], self.layers)
        return [
            head.distance(x, target) for head, x, target in zip(heads, tokens, targets, strict=True)
        ]
