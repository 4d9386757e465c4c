"""A third stage in one file: a student that tells a clip's mean colour by its visible tokens."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from ivn.data.batch import Batch
from ivn.frozen import TeacherConfig
from ivn.model.encoder import CLS_TOKENS
from ivn.model.model import Model, build_model
from ivn.stages.masks import Mask, Masking
from ivn.stages.stage import BuildInputs, Stage, StageConfig, stage_kind
from ivn.stages.teachers import STUDENT, NoTeacher, TeacherSpec
from ivn.stages.terms import Term, mean_term


@stage_kind
@dataclass(frozen=True, kw_only=True)
class ColourConfig(StageConfig):
    """Colour prediction.

    Attributes:
        teacher: image teacher whose attention semantic masks follow.
        frames: frames of the student's clips.
        size: side of the student's frames, in pixels.
        mask: the tokens that stay.
        mask_ratio: share of a frame's tokens that is masked.
    """

    label = "colours"

    kind: Literal["colour"] = "colour"
    teacher: TeacherConfig | NoTeacher = field(default_factory=NoTeacher)
    frames: int = 4
    size: int = 56
    mask: Mask = "random"
    mask_ratio: float = 0.5

    @property
    def teachers(self) -> dict[str, TeacherSpec]:
        if isinstance(self.teacher, NoTeacher):
            return {}
        return {"teacher": TeacherSpec(self.teacher, "teacher")}

    def masking(self, global_batch: int) -> Masking:
        return Masking(self.mask, self.mask_ratio, (), global_batch, 0)

    def build(self, inputs: BuildInputs) -> "Colour":
        student = build_model(inputs.model, None, seed=inputs.seed, predicts=False)
        return Colour(self, student, inputs)


class Colour(Stage):
    """An encoder with a linear head."""

    part_names = (*Stage.part_names, "head")

    def __init__(self, config: ColourConfig, model: Model, inputs: BuildInputs) -> None:
        teachers, clips = inputs.teachers, inputs.global_batch
        super().__init__(config, model, teachers, global_batch=clips, predicts=False)
        self.encoder.clip_projector.requires_grad_(False)
        self.head = nn.Linear(self.encoder.config.width, 3)
        with torch.no_grad():
            self.head.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(inputs.seed))
            self.head.bias.zero_()
        self.loss_weights = {"colour": 1.0}

    def loss(self, batch: Batch) -> dict[str, Term]:
        visible, _ = self.mask(batch, self.attention(batch))
        hidden, _ = self.encoder.hidden(batch.clips[STUDENT], visible, keys=batch.keys)
        found: Tensor = self.head(hidden[:, CLS_TOKENS:].mean(1))
        colour = batch.clips[STUDENT].float().mean((1, 2, 3)) / 255
        return {"colour": mean_term((found - colour).square())}
