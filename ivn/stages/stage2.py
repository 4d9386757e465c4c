"""Stage two: predict the frozen stage-one encoder's features of the masked tokens.

Legend: B batch, V visible and P masked tokens, C encoder's width, W predictor's width.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from ivn.data.batch import Batch
from ivn.frozen import Targets, Teacher, TeacherConfig
from ivn.keys import Purpose
from ivn.model.decoder import DiffusionConfig, LatentHead, PixelDecoderConfig
from ivn.model.encoder import CLS_TOKENS, Encoder
from ivn.model.model import Model, build_model
from ivn.model.packed import take

from .blocks import Blocks
from .masks import Mask, Masking
from .semantic import SemanticTeacher
from .stage import BuildInputs, Stage, StageConfig, stage_kind
from .teachers import STUDENT, TEACHER, NoTeacher, TeacherSpec
from .terms import Term, added, mean_term


@dataclass(frozen=True)
class FrozenStart:
    """The target is the encoder that the run starts from, frozen."""

    kind: Literal["start"] = "start"


@dataclass(frozen=True)
class MomentumTarget:
    """The target follows the encoder: a running mean of its weights (Table 3: V-JEPA's target).

    Attributes:
        momentum: share of the old mean in the new one at each step (Table 3: 0.9998).
    """

    kind: Literal["momentum"] = "momentum"
    momentum: float = 0.9998

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum is {self.momentum}, expected 0 to 1")


@stage_kind
@dataclass(frozen=True, kw_only=True)
class Stage2Config(StageConfig):
    """Latent prediction.

    Attributes:
        frames: frames of the clips (Table 4: 8, 16 or 32).
        size: side of the clips' frames, in pixels.
        mask: choice of the visible tokens: "multi_block" hides the blocks of ``views``; the others
            are those of stage one, in one view: "semantic_topk" and "semantic_sampled" follow the
            image teacher's attention (Table 4: semantic or multi-block), besides "random", "tube"
            and "frame_difference".
        mask_ratio: share of a frame's tokens that are masked, except with "multi_block".
        mask_group: number of clips that keep equally many tokens with "multi_block", as many as the
            clip with the fewest; 0 is the whole global batch. Groups follow the order of the global
            batch, and the last one may be smaller.
        views: masks of each clip; the student runs once per mask.
        target: network whose features of the masked tokens are predicted (Table 3): the encoder
            that the run starts from, its running mean, or another network at its last tap.
        teacher_drop_path: whether stochastic depth stays on in a target that is our encoder.
        start: parts that are taken from --init: "encoder_and_predictor", or the "encoder" alone,
            with random weights in the predictor (Table 3: V-JEPA's predictor).
        teacher: network for semantic masks (Table 4), and to align visible tokens with (Table 3).
        layers_weight: factor of the loss that aligns visible tokens with the teacher's, as in stage
            one (Table 3: 1 adds it).
        pixels_weight: factor of the loss on the masked pixels (Table 3: 1 adds it).
        pixel_decoder: decoder of the masked pixels, beside the decoder of latents, if
            ``pixels_weight`` is above 0 (Table 3).
        decay_predictor_tokens: whether the predictor's positions and mask token have weight decay.
    """

    label = "stage 2"
    needs_start = "stage two predicts the features of a stage-one encoder"

    kind: Literal["stage2"] = "stage2"
    frames: int = 32
    size: int = 224
    mask: Mask = "multi_block"
    mask_ratio: float = 0.8
    mask_group: int = 0
    views: tuple[Blocks, ...] = (Blocks(8, 0.15), Blocks(2, 0.7))
    target: FrozenStart | MomentumTarget | TeacherConfig = field(default_factory=FrozenStart)
    teacher_drop_path: bool = False
    start: Literal["encoder_and_predictor", "encoder"] = "encoder_and_predictor"
    teacher: TeacherConfig | NoTeacher = field(default_factory=NoTeacher)
    layers_weight: float = 0.0
    pixels_weight: float = 0.0
    pixel_decoder: PixelDecoderConfig = field(default_factory=DiffusionConfig)
    decay_predictor_tokens: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.views:
            raise ValueError("views is empty, expected at least one mask")
        masking = self.masking(1)
        if masking.untruncated and (self.layers_weight or self.pixels_weight):
            raise ValueError(
                'a view with truncate "none" leaves clips of different lengths, which have neither '
                'aligned tokens nor pixels: choose "random" or "prefix", or weights of 0'
            )
        self._check_teachers(masking)

    def _check_teachers(self, masking: Masking) -> None:
        if isinstance(self.teacher, NoTeacher):
            if masking.semantic:
                raise ValueError(
                    f"mask {self.mask} follows an image teacher's attention: choose teacher.kind"
                )
            if self.layers_weight:
                raise ValueError(
                    f"layers_weight {self.layers_weight} aligns visible tokens with an image "
                    "teacher: choose teacher.kind"
                )
        elif self.layers_weight and not self.teacher.taps:
            raise ValueError("teacher.taps is empty, expected the blocks to align with")
        if isinstance(self.target, TeacherConfig) and not self.target.taps:
            raise ValueError("target.taps is empty, expected the block to predict")

    @property
    def teachers(self) -> dict[str, TeacherSpec]:
        found = {}
        asked = self.layers_weight > 0 or self.masking(1).semantic
        if isinstance(self.teacher, TeacherConfig) and asked:
            found[TEACHER] = TeacherSpec(self.teacher, TEACHER)
        if isinstance(self.target, TeacherConfig):
            last = replace(self.target, taps=self.target.taps[-1:])
            found["target"] = TeacherSpec(last, "target")
        return found

    @property
    def inherited(self) -> tuple[str, ...]:
        return ("encoder",) if self.start == "encoder" else super().inherited

    @property
    def needs_predictor(self) -> str:
        return "start from its encoder alone with --set stage.start=encoder"

    def masking(self, global_batch: int) -> Masking:
        return Masking(self.mask, self.mask_ratio, self.views, global_batch, self.mask_group)

    def build(self, inputs: BuildInputs) -> "Stage2":
        target = inputs.teachers.get("target")
        student = build_model(
            inputs.model,
            inputs.heads(TEACHER, layers=self.layers_weight > 0, pooled=False),
            seed=inputs.seed,
            pretrained=inputs.pretrained,
            latent_width=target.width if target is not None else 0,
            pixel_decoder=self.pixel_decoder if self.pixels_weight else None,
        )
        return Stage2(self, student, inputs.teachers, global_batch=inputs.global_batch)


class Stage2(Stage):
    """The student of stage two beside its target: by default the encoder it starts from, frozen.

    Args:
        config: settings of the stage.
        model: networks with the parts that the config's terms need.
        teachers: frozen networks, by the names in ``config.teachers``: an image teacher, and the
            network to predict where that is not our encoder.
        global_batch: clips of the global batch, on which multi-block masks depend.
    """

    part_names = (*Stage.part_names, "alignment", "pixel_decoder")
    config: Stage2Config
    decoder: LatentHead

    def __init__(
        self,
        config: Stage2Config,
        model: Model,
        teachers: Mapping[str, Teacher],
        *,
        global_batch: int,
    ) -> None:
        if model.predictor is None or not isinstance(model.decoder, LatentHead):
            raise ValueError(
                "stage two predicts latents: it needs a predictor, and model.decoder.kind must be "
                '"latent"'
            )
        super().__init__(
            config,
            model,
            teachers,
            global_batch=global_batch,
            predicts=True,
            decay_predictor_tokens=config.decay_predictor_tokens,
        )
        # Nothing of this stage reaches the pooling head.
        self.encoder.clip_projector.requires_grad_(False)
        # The target, where that is our encoder; checkpoints know it by this name.
        self.teacher: Encoder | None = None
        if "target" not in self.teachers:
            self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)
        self.alignment = model.alignment if config.layers_weight else None
        self.pixel_decoder = model.pixel_decoder if config.pixels_weight else None
        self.semantic = SemanticTeacher(
            self.teachers.get(TEACHER), self.alignment, attention=self.masking.semantic
        )
        self.align_blocks(self.semantic.blocks)
        self.loss_weights = {f"view{i}": 1.0 for i in range(1, self.masking.views + 1)}
        beside = {"layers": config.layers_weight, "pixels": config.pixels_weight}
        self.loss_weights |= {name: weight for name, weight in beside.items() if weight}
        self.train(self.training)

    def train(self, mode: bool = True) -> "Stage2":
        super().train(mode)
        if self.teacher is not None:
            self.teacher.train(mode and self.config.teacher_drop_path)
        return self

    def after_start(self) -> None:
        """Makes the target, where that is our encoder, equal to the encoder as it is now."""
        if self.teacher is not None:
            self.teacher.load_state_dict(self.encoder.state_dict())

    @torch.no_grad()
    def after_step(self, stepped: Tensor) -> None:
        """Moves a momentum target towards the encoder, where the optimiser stepped."""
        if isinstance(self.config.target, MomentumTarget):
            assert self.teacher is not None
            pairs = zip(self.teacher.parameters(), self.encoder.parameters(), strict=True)
            target, encoder = zip(*pairs, strict=True)
            share = (1 - self.config.target.momentum) * stepped.to(target[0].dtype)
            torch._foreach_lerp_(target, encoder, [share] * len(target))

    def loss(self, batch: Batch) -> dict[str, Term]:
        # Heads and pixels take rectangles; latents alone take clips of different lengths, packed.
        rectangular = self.alignment is not None or self.pixel_decoder is not None
        parts = self.masking.even_parts(batch) if rectangular else [batch]
        return added(self._loss(part) for part in parts)

    def _loss(self, batch: Batch) -> dict[str, Term]:
        features, seen_by_teacher = self.target(batch), self.semantic.look(batch)
        views = range(self.masking.views)
        # Means over the tokens of all views: weights do not depend on how many views there are.
        return added(self._view_terms(batch, view, features, seen_by_teacher) for view in views)

    def _view_terms(
        self, batch: Batch, view: int, features: Tensor, seen_by_teacher: Targets
    ) -> dict[str, Term]:
        visible, masked = self.mask(batch, seen_by_teacher.attention, view=view)
        seen = self.student(batch.clips[STUDENT], visible, masked, keys=batch.keys, view=view)
        terms = {f"view{view + 1}": self.latent_term(seen.predicted, take(features, masked))}
        if self.alignment is not None:
            assert isinstance(visible, Tensor)
            target = self.semantic.targets(seen_by_teacher, visible)
            found = self.semantic.terms(seen.tapped_layers, seen.aligned_pooled, target)
            terms["layers"] = found["layers"]
        if self.pixel_decoder is not None:
            assert isinstance(masked, Tensor)
            # Layer 0 is stage one's: under the same seed its noise was the same clip's.
            terms["pixels"] = self.pixel_term(
                self.pixel_decoder, batch, masked, seen.predicted, layer=view + 1
            )
        return terms

    def _counts(self, batch: Batch) -> dict[str, int]:
        views = range(self.masking.views)
        visible, masked = zip(*(self.token_counts(batch, view=v) for v in views), strict=True)
        values = {f"view{i}": count for i, count in enumerate(masked, 1)}
        values |= {"layers": self.semantic.blocks * sum(visible), "pixels": sum(masked)}
        return {name: values[name] for name in self.loss_weights}

    def target(self, batch: Batch) -> Tensor:
        """Returns the features of all tokens to predict, ``[B, N, C]`` or ``[B, N, D]``."""
        if self.teacher is not None:
            return self.look(batch.clips[STUDENT], batch.keys)
        seen = self.teachers["target"].look(batch.clips, layers=True, pooled=False, attention=False)
        return seen.layers[-1]

    @torch.no_grad()
    def look(self, video: Tensor, keys: Tensor | None = None) -> Tensor:
        """Returns the target encoder's features of the whole clip, ``[B, N, C]``."""
        assert self.teacher is not None
        hidden, _ = self.teacher.hidden(video, keys=keys, purpose=Purpose.TEACHER_DROP_PATH)
        return hidden[:, CLS_TOKENS:]

    def latent_term(self, predicted: Tensor, target: Tensor) -> Term:
        """Returns ``2 - 2 cos`` of each masked token.

        Args:
            predicted: the predictor's tokens, ``[B, P, W]``; the decoder carries them to C.
            target: features to predict, ``[B, P, C]``.
        """
        return mean_term(2 * self.decoder.distance(predicted, target))

    def cosines(self, means: Mapping[str, float]) -> dict[str, float]:
        found = {name: 1 - mean / 2 for name, mean in means.items() if name.startswith("view")}
        aligned = {name: mean for name, mean in means.items() if name == "layers"}
        return found | self.semantic.cosines(aligned)
