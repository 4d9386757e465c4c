"""Stage one: reconstruct the masked pixels, and align the visible tokens with an image teacher.

Legend: B batch, T frames, V visible and P masked tokens, K aligned blocks, C encoder's width,
D teacher's width, W predictor's width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ivn.data.clip import Batch, ClipSpec
from ivn.model.decoder import LatentHead, PixelDecoder
from ivn.model.layers import wide_dtype
from ivn.model.model import Model
from ivn.model.patch import normalised, patch_grid
from ivn.model.positions import Grid
from ivn.model.teacher import Targets, Teacher, TeacherConfig
from ivn.ops import gather_tokens
from ivn.ops.masking import other_tokens, sample_tokens, top_tokens

from . import masks
from .parts import Stage, Term, check_clip, mean_term, pixel_target

Mask = Literal["semantic_topk", "semantic_sampled", "random", "tube", "frame_difference"]


@dataclass(frozen=True, kw_only=True)
class Stage1Config:
    """Semantic-guided pixel reconstruction.

    Attributes:
        teacher: the image network to align with; its taps pair with the student's last blocks.
        frames: of the student's clips.
        size: side of the student's frames, in pixels.
        mask: "semantic_topk" keeps the tokens that the teacher attends to most, frame by frame,
            "semantic_sampled" draws them by that attention, "random" draws them evenly, "tube"
            draws the same places for all frames, "frame_difference" keeps those that change most
            from frame to frame.
        mask_ratio: share of a frame's tokens that is masked.
        align_pooled: also align the pooled vector with the teacher's, averaged over the frames.
        alignment_loss: "negative_cosine" or "two_minus_two_cosine", of twice the gradient.
        renormalise_pooled: give the averaged pooled target length one again.
        teacher_input: "decoded" shows the teacher its own resize of the decoded frames, "student"
            the student's pixels, enlarged.
        decay_predictor_tokens: weight decay on the predictor's positions and mask token.
        layers_weight: factor in the loss on the alignment of the blocks' visible tokens.
        pooled_weight: factor in the loss on the alignment of the pooled vector.
        pixels_weight: factor in the loss on the reconstruction of the masked pixels.
    """

    kind: Literal["stage1"] = "stage1"
    teacher: TeacherConfig
    frames: int = 16
    size: int = 224
    mask: Mask = "semantic_topk"
    mask_ratio: float = 0.8
    align_pooled: bool = False
    alignment_loss: Literal["negative_cosine", "two_minus_two_cosine"] = "negative_cosine"
    renormalise_pooled: bool = True
    teacher_input: Literal["decoded", "student"] = "decoded"
    decay_predictor_tokens: bool = False
    layers_weight: float = 1.0
    pooled_weight: float = 1.0
    pixels_weight: float = 1.0

    def __post_init__(self) -> None:
        check_clip(self.frames, self.size)
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio is {self.mask_ratio}, expected above 0 and below 1")
        weights = (self.layers_weight, self.pooled_weight, self.pixels_weight)
        if min(weights) < 0:
            raise ValueError(f"the terms' weights are {weights}, expected at least 0")
        if self.mask == "frame_difference" and self.frames < 2:
            raise ValueError(f"mask frame_difference needs 2 frames or more, not {self.frames}")


class Seen(NamedTuple):
    """What the student makes of a clip's visible tokens.

    Attributes:
        tapped_layers: its last K blocks, each with the positions of its head, ``[B, V, C]``.
        aligned_pooled: its pooled vector there, ``[B, D]``; without that head ``[B, 0]``.
        predicted: the predictor's tokens in the masked places, ``[B, P, W]``.
    """

    tapped_layers: list[Tensor]
    aligned_pooled: Tensor
    predicted: Tensor


class AlignmentTargets(NamedTuple):
    """The teacher's side: K ``layers`` ``[B, V, D]`` and ``pooled`` ``[B, D]``."""

    layers: Sequence[Tensor]
    pooled: Tensor


class Stage1(Stage):
    """The student of stage one beside its teacher."""

    decoder: PixelDecoder

    def __init__(self, config: Stage1Config, model: Model, teacher: Teacher | None) -> None:
        tokens = ("predictor.pos_embed", "predictor.mask_token")
        super().__init__(model, decayed_tokens=tokens if config.decay_predictor_tokens else ())
        if model.alignment is None or isinstance(model.decoder, LatentHead):
            raise ValueError("stage one needs alignment heads and a decoder of pixels")
        masks.visible_per_frame(
            (config.size // model.encoder.config.patch_size) ** 2, config.mask_ratio
        )
        if len(model.alignment.layers) > model.encoder.config.depth:
            raise ValueError(
                f"{len(model.alignment.layers)} aligned layers need as many blocks, the encoder "
                f"has {model.encoder.config.depth}"
            )
        self.config = config
        self.alignment = model.alignment
        self.teacher: Teacher | None = teacher
        # Only the pooled term reaches the pooling head.
        self.encoder.clip_projector.requires_grad_(config.align_pooled)
        self.clip_specs = {"student": ClipSpec(config.frames, config.size)}
        if config.teacher_input == "decoded":
            mean, std = (0.5,) * 3, (0.5,) * 3
            frames = config.teacher.frames_for(config.frames)
            spec = ClipSpec(frames, config.teacher.image_size, mean, std)
            self.clip_specs["teacher"] = spec
        self.loss_weights = {"layers": config.layers_weight, "pixels": config.pixels_weight}
        if config.align_pooled:
            self.loss_weights["pooled"] = config.pooled_weight

    @property
    def parts(self) -> dict[str, nn.Module]:
        return super().parts | {"alignment": self.alignment}

    def loss(self, batch: Batch) -> dict[str, Term]:
        video = batch.clips["student"]
        seen_by_teacher = self.look(batch)
        visible, masked = self.mask(batch, seen_by_teacher.attention)
        seen = self.student(video, visible, masked, keys=batch.keys)
        terms = self.alignment_terms(seen, self.alignment_targets(seen_by_teacher, visible))
        target = self.pixel_target(video, masked)
        terms["pixels"] = mean_term(self.decoder.loss(target, seen.predicted, batch.keys))
        return terms

    def look(self, batch: Batch) -> Targets:
        """The teacher's features, pooled vectors and attention."""
        assert self.teacher is not None
        pooled, attention = self.config.align_pooled, self.config.mask.startswith("semantic")
        if self.config.teacher_input == "decoded":
            return self.teacher(batch.clips["teacher"], pooled=pooled, attention=attention)
        pixels = normalised(batch.clips["student"])
        return self.teacher.from_student(pixels, pooled=pooled, attention=attention)

    def mask(self, batch: Batch, attention: Tensor) -> tuple[Tensor, Tensor]:
        """The visible tokens ``[B, V]`` and the masked ``[B, P]``, both ascending.

        ``attention`` is the teacher's, ``[B, T, L]``; masks that are not semantic never read it.
        """
        video, keys = batch.clips["student"], batch.keys
        grid = patch_grid(video, self.encoder.config.patch_size)
        V = masks.visible_per_frame(grid[1] * grid[2], self.config.mask_ratio)
        match self.config.mask:
            case "semantic_topk":
                visible = top_tokens(attention, V)
            case "semantic_sampled":
                visible = sample_tokens(attention, keys, V)
            case "random":
                visible = masks.evenly(keys, grid, V)
            case "tube":
                visible = masks.tube(keys, grid, V)
            case "frame_difference":
                visible = masks.frame_difference(self._embeddings(video, grid), V)
        return visible, other_tokens(visible, grid[0] * grid[1] * grid[2])

    @torch.no_grad()
    def _embeddings(self, video: Tensor, grid: Grid) -> Tensor:
        """The student's embeddings of all patches, ``[B, T, L, C]``."""
        every = torch.arange(grid[0] * grid[1] * grid[2], device=video.device)
        tokens = self.encoder.patch_embed(
            video, every.expand(len(video), -1), wide_dtype(self.encoder.dtype)
        )
        return tokens.unflatten(1, (grid[0], -1))

    def alignment_targets(self, seen: Targets, visible: Tensor) -> AlignmentTargets:
        """The teacher's visible tokens, and its frames' mean direction."""
        layers = [gather_tokens(layer, visible) for layer in seen.layers]
        pooled = F.normalize(seen.pooled, dim=-1).mean(1)
        if self.config.renormalise_pooled:
            pooled = F.normalize(pooled, dim=-1)
        return AlignmentTargets(layers, pooled)

    def student(
        self, video: Tensor, visible: Tensor, masked: Tensor, *, keys: Tensor | None = None
    ) -> Seen:
        """Encode the ``visible`` ``[B, V]``, predict the ``masked`` ``[B, P]``."""
        grid = patch_grid(video, self.encoder.config.patch_size)
        depth, K = self.encoder.config.depth, len(self.alignment.layers)
        taps = range(depth - K, depth)
        hidden, tapped = self.encoder.hidden(video, visible, taps=taps, keys=keys)
        dtype = self.encoder.dtype
        features = [tapped[tap].to(dtype) for tap in taps]
        layers = self.alignment(features, visible, grid)
        pooled = hidden.new_empty(len(video), 0)
        if self.alignment.pooled is not None:
            pooled = self.alignment.pooled(self.encoder.pool_hidden(hidden))
        predicted = self.predictor(hidden.to(dtype), visible, grid)
        return Seen(layers, pooled, gather_tokens(predicted, masked))

    def alignment_terms(self, seen: Seen, target: AlignmentTargets) -> dict[str, Term]:
        """The semantic terms: the visible tokens' and, if asked for, the pooled vector's."""
        distances = self.alignment.distances(seen.tapped_layers, target.layers)
        terms = {"layers": mean_term(self._alignment_loss(1 - torch.stack(distances)))}
        if self.config.align_pooled:
            ours = seen.aligned_pooled.to(wide_dtype(seen.aligned_pooled.dtype))
            cosine = (F.normalize(ours, dim=-1) * target.pooled.to(ours.dtype)).sum(-1)
            terms["pooled"] = mean_term(self._alignment_loss(cosine))
        return terms

    def pixel_target(self, video: Tensor, masked: Tensor) -> Tensor:
        """What the decoder reconstructs: ``[B, P, 3 * p * p]`` normalised pixels."""
        dtype = wide_dtype(self.encoder.dtype)
        return pixel_target(video, masked, self.encoder.config.patch_size, dtype)

    def _alignment_loss(self, cosine: Tensor) -> Tensor:
        return -cosine if self.config.alignment_loss == "negative_cosine" else 2 - 2 * cosine

    def cosines(self, means: Mapping[str, float]) -> dict[str, float]:
        """The aligned terms'; ``pooled`` times its target's length, if that is not made one."""
        aligned = {name: mean for name, mean in means.items() if name != "pixels"}
        if self.config.alignment_loss == "negative_cosine":
            return {name: -mean for name, mean in aligned.items()}
        return {name: 1 - mean / 2 for name, mean in aligned.items()}
