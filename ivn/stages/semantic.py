"""A frozen teacher's part in a stage: attention for its masks, targets for visible tokens.

Legend: B batch, T frames, V visible tokens, K aligned blocks, C encoder's width, D teacher's width.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.data.batch import Batch
from ivn.frozen import Targets
from ivn.model.alignment import Alignment
from ivn.model.encoder import Encoder
from ivn.model.layers import wide_dtype
from ivn.model.packed import Index
from ivn.model.positions import Grid
from ivn.ops import gather_tokens

from .teachers import StageTeacher
from .terms import Term, mean_term

AlignmentLoss = Literal["negative_cosine", "two_minus_two_cosine"]


class AlignmentTargets(NamedTuple):
    """The teacher's side: K ``layers`` ``[B, V, D]`` and ``pooled`` ``[B, D]``."""

    layers: Sequence[Tensor]
    pooled: Tensor


class SemanticTeacher:
    """A teacher and the heads that lead to it; it computes only what masks and heads need.

    It owns neither: both move and are saved with the stage.

    Args:
        teacher: the frozen network, or None where nothing needs one.
        heads: the student's alignment heads, or None without alignment.
        attention: whether masks follow the teacher's attention.
        loss: function of a cosine that the loss is.
        renormalise_pooled: whether the averaged pooled target is given length one again.
    """

    def __init__(
        self,
        teacher: StageTeacher | None = None,
        heads: Alignment | None = None,
        *,
        attention: bool = False,
        loss: AlignmentLoss = "negative_cosine",
        renormalise_pooled: bool = True,
    ) -> None:
        self.teacher, self.heads = teacher, heads
        self.attention, self.renormalise_pooled = attention, renormalise_pooled
        self._negative = loss == "negative_cosine"
        self.blocks = 0 if heads is None else len(heads.layers)
        self.pooled = heads is not None and heads.pooled is not None

    def look(self, batch: Batch) -> Targets:
        """Returns features, pooled vectors and attention; what nothing needs is empty."""
        layers, pooled, attention = self.blocks > 0, self.pooled, self.attention
        if not (layers or pooled or attention):
            nothing = torch.empty(0)
            return Targets(nothing, nothing, nothing)
        assert self.teacher is not None
        return self.teacher.look(batch.clips, layers=layers, pooled=pooled, attention=attention)

    def targets(self, seen: Targets, visible: Tensor) -> AlignmentTargets:
        """Returns the features of the visible tokens, and the mean direction of the frames."""
        layers = [gather_tokens(layer, visible) for layer in seen.layers]
        if not self.pooled:
            return AlignmentTargets(layers, seen.pooled)
        pooled = F.normalize(seen.pooled, dim=-1).mean(1)
        if self.renormalise_pooled:
            pooled = F.normalize(pooled, dim=-1)
        return AlignmentTargets(layers, pooled)

    def student(
        self,
        encoder: Encoder,
        features: Sequence[Tensor],
        hidden: Tensor,
        visible: Index,
        grid: Grid,
    ) -> tuple[list[Tensor], Tensor]:
        """Returns the student's side, as :meth:`terms` takes it.

        Args:
            encoder: the student's encoder, for its pooling head.
            features: streams after the encoder's last blocks, K or more, ``[B, 4 + V, C]``.
            hidden: stream after the last block.
            visible: tokens that the student sees, ``[B, V]``.
            grid: frames, rows and columns of the clip's tokens.

        Returns:
            K blocks with the positions of their heads, ``[B, V, C]``, and the pooled vector in the
            teacher's space, ``[B, D]``, or without that head ``[B, 0]``.
        """
        pooled = hidden.new_empty(len(hidden), 0)
        if self.heads is None:
            return [], pooled
        assert isinstance(visible, Tensor), "clips of different lengths are not aligned"
        layers = self.heads(list(features[len(features) - self.blocks :]), visible, grid)
        if self.heads.pooled is not None:
            pooled = self.heads.pooled(encoder.pool_hidden(hidden))
        return layers, pooled

    def terms(
        self, layers: Sequence[Tensor], pooled: Tensor, target: AlignmentTargets
    ) -> dict[str, Term]:
        """Returns the terms ``layers`` and ``pooled``, each where there are heads for it."""
        terms = {}
        if self.blocks:
            assert self.heads is not None
            distances = self.heads.distances(layers, target.layers)
            terms["layers"] = mean_term(self._loss(1 - torch.stack(distances)))
        if self.pooled:
            ours = pooled.to(wide_dtype(pooled.dtype))
            cosine = (F.normalize(ours, dim=-1) * target.pooled.to(ours.dtype)).sum(-1)
            terms["pooled"] = mean_term(self._loss(cosine))
        return terms

    def _loss(self, cosine: Tensor) -> Tensor:
        return -cosine if self._negative else 2 - 2 * cosine

    def cosines(self, means: Mapping[str, float]) -> dict[str, float]:
        """Returns the mean cosine behind each mean; ``pooled`` times the length of its target."""
        return {name: -mean if self._negative else 1 - mean / 2 for name, mean in means.items()}
