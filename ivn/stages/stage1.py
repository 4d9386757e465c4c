"""Stage one: reconstruct the masked pixels, and align the visible tokens with an image teacher.

Legend: B batch, T frames, V visible and P masked tokens, K aligned blocks, C encoder's width,
D teacher's width, W predictor's width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ivn.data.batch import Batch
from ivn.frozen import Targets, Teacher, TeacherConfig
from ivn.model.decoder import PixelDecoder
from ivn.model.model import Model, build_model
from ivn.model.patch import patch_grid

from .blocks import Blocks
from .masks import Mask, Masking
from .semantic import AlignmentLoss, SemanticTeacher
from .stage import NO_ATTENTION, BuildInputs, Seen, Stage, StageConfig, stage_kind
from .teachers import STUDENT, TEACHER, NoTeacher, TeacherSpec
from .terms import Term, added


@stage_kind
@dataclass(frozen=True, kw_only=True)
class Stage1Config(StageConfig):
    """Semantic-guided pixel reconstruction.

    A term whose weight is 0 is not computed, and neither is what only it needs: networks, teachers,
    passes.

    Attributes:
        teacher: network whose features the student aligns with; its taps pair with the student's
            last blocks (Table 2: DINOv2, CLIP or SigLIP).
        frames: frames of the student's clips (Table 4: 8, 16 or 32).
        size: side of the student's frames, in pixels.
        mask: choice of the visible tokens: "semantic_topk" takes those that the teacher attends to
            most, frame by frame; "semantic_sampled" draws them by that attention; "random" draws
            them evenly; "tube" draws the same places for all frames; "frame_difference" takes those
            that change most from frame to frame; "multi_block" hides ``blocks``, as stage two does
            (Table 4: semantic or multi-block).
        mask_ratio: share of a frame's tokens that are masked, except with "multi_block".
        mask_group: number of clips that keep equally many tokens with "multi_block", as many as the
            clip with the fewest; 0 is the whole global batch. Groups follow the order of the global
            batch, and the last one may be smaller.
        blocks: blocks that "multi_block" hides.
        align_pooled: whether the pooled vector is also aligned with the teacher's, averaged over
            the frames.
        alignment_loss: "negative_cosine", or "two_minus_two_cosine" with twice its gradient.
        renormalise_pooled: whether the averaged pooled target is scaled to length one again.
        teacher_input: pixels that the teacher sees: "decoded" frames in the teacher's own size, or
            the "student" frames, enlarged.
        second_teacher: another network to align with, by its taps alone (Table 2: InternVideo2's
            stage one, SigLIP and VideoMAE).
        decay_predictor_tokens: whether the predictor's positions and mask token have weight decay.
        layers_weight: factor of the loss that aligns visible tokens, block by block (Table 1a: 0,
            and no pooled term, leaves pixels only).
        pooled_weight: factor of the loss that aligns the pooled vector.
        pixels_weight: factor of the loss on the masked pixels (Tables 1a and 2: 0 aligns only).
        second_weight: factor of the loss that aligns with the second teacher.
    """

    label = "stage 1"

    kind: Literal["stage1"] = "stage1"
    teacher: TeacherConfig
    frames: int = 16
    size: int = 224
    mask: Mask = "semantic_topk"
    mask_ratio: float = 0.8
    mask_group: int = 0
    blocks: Blocks = field(default_factory=lambda: Blocks(8, 0.15))
    align_pooled: bool = False
    alignment_loss: AlignmentLoss = "negative_cosine"
    renormalise_pooled: bool = True
    teacher_input: Literal["decoded", "student"] = "decoded"
    second_teacher: TeacherConfig | NoTeacher = field(default_factory=NoTeacher)
    decay_predictor_tokens: bool = False
    layers_weight: float = 1.0
    pooled_weight: float = 1.0
    pixels_weight: float = 1.0
    second_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.layers_weight or self.pools or self.pixels_weight or self.aligns_second):
            raise ValueError(
                "all terms have weight 0, which leaves nothing to learn: give layers_weight, "
                "pixels_weight, or another term's, above 0"
            )
        if self.masking(1).untruncated:
            raise ValueError(
                'blocks.truncate is "none", which leaves clips of different lengths: stage one '
                'needs "random" or "prefix"'
            )
        for name, teacher, used in (
            ("teacher", self.teacher, self.layers_weight > 0),
            ("second_teacher", self.second_teacher, self.aligns_second),
        ):
            if used and isinstance(teacher, TeacherConfig) and not teacher.taps:
                raise ValueError(f"{name}.taps is empty, expected the blocks to align with")

    @property
    def pools(self) -> bool:
        """Whether the pooled vector is aligned."""
        return self.align_pooled and self.pooled_weight > 0

    @property
    def aligns_second(self) -> bool:
        """Whether a second teacher is aligned with."""
        return isinstance(self.second_teacher, TeacherConfig) and self.second_weight > 0

    @property
    def teachers(self) -> dict[str, TeacherSpec]:
        found = {}
        if self.layers_weight > 0 or self.pools or self.masking(1).semantic:
            clip = STUDENT if self.teacher_input == "student" else TEACHER
            found[TEACHER] = TeacherSpec(self.teacher, clip)
        if isinstance(self.second_teacher, TeacherConfig) and self.aligns_second:
            found["second_teacher"] = TeacherSpec(self.second_teacher, "second_teacher")
        return found

    def masking(self, global_batch: int) -> Masking:
        return Masking(self.mask, self.mask_ratio, (self.blocks,), global_batch, self.mask_group)

    def build(self, inputs: BuildInputs) -> "Stage1":
        student = build_model(
            inputs.model,
            inputs.heads(TEACHER, layers=self.layers_weight > 0, pooled=self.pools),
            seed=inputs.seed,
            pretrained=inputs.pretrained,
            predicts=self.pixels_weight > 0,
            second_alignment=inputs.heads("second_teacher", layers=True, pooled=False),
        )
        return Stage1(self, student, inputs.teachers, global_batch=inputs.global_batch)


class Stage1(Stage):
    """The student of stage one beside its teachers.

    Args:
        config: settings of the stage.
        model: networks with the parts that the config's terms need.
        teachers: frozen networks, by the names in ``config.teachers``.
        global_batch: clips of the global batch, on which multi-block masks depend.
    """

    part_names = (*Stage.part_names, "alignment", "second_alignment")
    config: Stage1Config
    decoder: PixelDecoder | None

    def __init__(
        self,
        config: Stage1Config,
        model: Model,
        teachers: Mapping[str, Teacher],
        *,
        global_batch: int = 1,
    ) -> None:
        aligns = config.layers_weight > 0 or config.pools
        _check_parts(config, model, aligns)
        super().__init__(
            config,
            model,
            teachers,
            global_batch=global_batch,
            predicts=config.pixels_weight > 0,
            decay_predictor_tokens=config.decay_predictor_tokens,
        )
        self.alignment = model.alignment if aligns else None
        self.second_alignment = model.second_alignment if config.aligns_second else None
        self.semantic = SemanticTeacher(
            self.teachers.get(TEACHER),
            self.alignment,
            attention=self.masking.semantic,
            loss=config.alignment_loss,
            renormalise_pooled=config.renormalise_pooled,
        )
        self.second = SemanticTeacher(
            self.teachers.get("second_teacher"), self.second_alignment, loss=config.alignment_loss
        )
        self.align_blocks(max(self.semantic.blocks, self.second.blocks))
        # Only the pooled term reaches the pooling head.
        self.encoder.clip_projector.requires_grad_(config.pools)
        weights = {
            "layers": config.layers_weight,
            "pixels": config.pixels_weight,
            "pooled": config.pooled_weight * config.pools,
            "second": config.second_weight * config.aligns_second,
        }
        self.loss_weights = {name: weight for name, weight in weights.items() if weight}

    def loss(self, batch: Batch) -> dict[str, Term]:
        # Heads, teachers and pixels take rectangles.
        return added(self._loss(part) for part in self.masking.even_parts(batch))

    def _loss(self, batch: Batch) -> dict[str, Term]:
        seen_by_teacher = self.look(batch)
        visible, masked = self.mask(batch, seen_by_teacher.attention)
        seen = self.student(batch.clips[STUDENT], visible, masked, keys=batch.keys)
        targets = self.semantic.targets(seen_by_teacher, visible)
        terms = self.semantic.terms(seen.tapped_layers, seen.aligned_pooled, targets)
        if self.second_alignment is not None:
            terms["second"] = self.second_term(batch, seen, visible)
        if self.decoder is not None:
            terms["pixels"] = self.pixel_term(self.decoder, batch, masked, seen.predicted)
        return terms

    def _counts(self, batch: Batch) -> dict[str, int]:
        visible, masked = self.token_counts(batch)
        values = {
            "layers": self.semantic.blocks * visible,
            "second": self.second.blocks * visible,
            "pooled": len(batch),
            "pixels": masked,
        }
        return {name: values[name] for name in self.loss_weights}

    def look(self, batch: Batch) -> Targets:
        """Returns the teacher's features, pooled vectors and attention; empty where not needed."""
        return self.semantic.look(batch)

    def mask(
        self, batch: Batch, attention: Tensor = NO_ATTENTION, *, view: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Returns visible and masked tokens, never packed: the clips keep equally many."""
        visible, masked = super().mask(batch, attention, view=view)
        assert isinstance(visible, Tensor) and isinstance(masked, Tensor)
        return visible, masked

    def second_term(self, batch: Batch, seen: Seen, visible: Tensor) -> Term:
        """Returns the term of the visible tokens' alignment with the second teacher."""
        target = self.second.targets(self.second.look(batch), visible)
        grid = patch_grid(batch.clips[STUDENT], self.encoder.config.patch_size)
        hidden = seen.features[-1]
        ours = self.second.student(self.encoder, seen.features, hidden, visible, grid)
        return self.second.terms(*ours, target)["layers"]

    def cosines(self, means: Mapping[str, float]) -> dict[str, float]:
        """Returns those of the aligned terms; ``pooled`` times the length of its target."""
        aligned = {name: mean for name, mean in means.items() if name != "pixels"}
        return self.semantic.cosines(aligned)


def _check_parts(config: Stage1Config, model: Model, aligns: bool) -> None:
    """Raises ValueError where the model lacks a part that the config's terms need."""
    if config.pixels_weight and (
        model.predictor is None or not isinstance(model.decoder, PixelDecoder)
    ):
        raise ValueError("stage one needs a predictor and a decoder of pixels")
    if aligns and model.alignment is None:
        raise ValueError("stage one needs alignment heads")
