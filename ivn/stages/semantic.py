"""What a frozen teacher brings to a stage: attention for its masks, targets for visible tokens.

Legend: B batch, T frames, V visible tokens, K aligned blocks, C encoder's width, D teacher's width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.data.batch import Batch, ClipSpec
from ivn.frozen import Targets, Teacher
from ivn.model.alignment import Alignment
from ivn.model.encoder import Encoder
from ivn.model.layers import wide_dtype
from ivn.model.packed import Index
from ivn.model.patch import normalised
from ivn.model.positions import Grid
from ivn.ops import gather_tokens

from .terms import Term, mean_term

AlignmentLoss = Literal["negative_cosine", "two_minus_two_cosine"]
STUDENT = "student"


@dataclass(frozen=True)
class NoTeacher:
    """No teacher."""

    kind: Literal["none"] = "none"


class AlignmentTargets(NamedTuple):
    """The teacher's side: K ``layers`` ``[B, V, D]`` and ``pooled`` ``[B, D]``."""

    layers: Sequence[Tensor]
    pooled: Tensor


class SemanticTeacher:
    """A teacher and the heads that lead to it. It computes what is asked of it and no more.

    It owns neither: both move and are saved with the stage.

    Args:
        teacher: None where nothing is asked of one.
        heads: the student's alignment heads, or None without alignment.
        clip: the name of its clips in a batch; "student" shows it the student's pixels, enlarged.
        attention: whether masks follow its attention.
        loss: what becomes of a cosine.
        renormalise_pooled: give the averaged pooled target length one again.
    """

    def __init__(
        self,
        teacher: Teacher | None,
        heads: Alignment | None,
        *,
        clip: str,
        attention: bool = False,
        loss: AlignmentLoss = "negative_cosine",
        renormalise_pooled: bool = True,
    ) -> None:
        self.teacher, self.heads, self.clip = teacher, heads, clip
        self.attention, self.renormalise_pooled = attention, renormalise_pooled
        self._negative = loss == "negative_cosine"
        self.blocks = 0 if heads is None else len(heads.layers)
        self.pooled = heads is not None and heads.pooled is not None

    def clip_specs(self, frames: int) -> dict[str, ClipSpec]:
        """What it sees of a clip of which the student sees ``frames``."""
        if self.teacher is None or self.clip == STUDENT:
            return {}
        return {self.clip: teacher_clip(self.teacher, frames)}

    def look(self, batch: Batch) -> Targets:
        """Its features, pooled vectors and attention; what nothing needs is empty."""
        layers, pooled, attention = self.blocks > 0, self.pooled, self.attention
        if not (layers or pooled or attention):
            nothing = torch.empty(0)
            return Targets(nothing, nothing, nothing)
        assert self.teacher is not None
        student = self.clip == STUDENT
        look = self.teacher.from_student if student else self.teacher
        video = normalised(batch.clips[STUDENT]) if student else batch.clips[self.clip]
        return look(video, layers=layers, pooled=pooled, attention=attention)

    def targets(self, seen: Targets, visible: Tensor) -> AlignmentTargets:
        """Its visible tokens, and its frames' mean direction."""
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
        """What the heads make of the student.

        Args:
            encoder: the student's, for its pooling head.
            features: the streams after its last blocks, K or more, ``[B, 4 + V, C]``.
            hidden: the stream after the last.
            visible: tokens, ``[B, V]``.
            grid: of the clip.

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
        """The distances of what :meth:`student` gave: ``layers`` and ``pooled``, where asked."""
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
        """The mean cosine behind each mean; ``pooled``'s times its target's length."""
        return {name: -mean if self._negative else 1 - mean / 2 for name, mean in means.items()}


def teacher_clip(teacher: Teacher, frames: int) -> ClipSpec:
    """What ``teacher`` sees of a clip of which the student sees ``frames``."""
    network = teacher.network
    return ClipSpec(teacher.frames_for(frames), network.image_size, network.mean, network.std)
