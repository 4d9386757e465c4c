"""What the stage of a config sees of clips: who looks at them, and the masks of each."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ivn.config.run import Config
from ivn.data.batch import Batch, ClipSpec
from ivn.frozen import Teacher, TeacherConfig, frames_seen
from ivn.load import load_encoder
from ivn.model.encoder import Encoder, build_encoder
from ivn.report.collect.opened import FAILURES
from ivn.report.collect.views import Mask, drawn_masks
from ivn.report.contact.hub import hub_or_cache
from ivn.stages.build import fitting_teacher
from ivn.stages.semantic import STUDENT, SemanticTeacher
from ivn.stages.stage import NO_ATTENTION
from ivn.stages.stage1 import Stage1Config


@dataclass(frozen=True)
class Looking:
    """What of a stage decides what it sees.

    Attributes:
        config: of the run.
        encoder: the student's; without weights where no mask asks for any.
        semantic: the teacher whose attention masks follow, None where they follow none.
        missing: "", or why there are no masks, in a line.
    """

    config: Config
    encoder: Encoder
    semantic: SemanticTeacher | None
    missing: str

    @property
    def specs(self) -> dict[str, ClipSpec]:
        """What each consumer sees, of those that decide which frames and pixels the student sees.

        A teacher of clips may see twice the frames, of which the student gets every other.
        """
        stage = self.config.stage
        specs = {STUDENT: ClipSpec(stage.frames, stage.size)}
        if self.semantic is not None:
            specs |= self.semantic.clip_specs(stage.frames)
        for teacher in _beside(self.config):
            if (frames := frames_seen(teacher, stage.frames)) > stage.frames:
                specs["of more frames"] = ClipSpec(frames, stage.size)
        return specs

    @torch.no_grad()
    def masks(self, batch: Batch) -> list[Mask]:
        """Those of a clip, a batch of one; none where they are missing."""
        if self.missing:
            return []
        told: Tensor = (
            NO_ATTENTION if self.semantic is None else self.semantic.look(batch).attention
        )
        masking = self.config.stage.masking(self.config.optim.batch_size)
        return drawn_masks(masking, self.encoder, batch, told)


def looking(config: Config, run: Path | None) -> Looking:
    """What the stage of a config, or of a run at its newest checkpoint, looks at clips with."""
    masking = config.stage.masking(config.optim.batch_size)
    semantic, missing = None, ""
    if masking.semantic:
        teacher = config.stage.teacher
        assert isinstance(teacher, TeacherConfig)
        side = config.stage.size // config.model.encoder.patch_size
        from_hub = bool(teacher.source) and not Path(teacher.source).exists()
        with hub_or_cache() if from_hub else nullcontext("") as away:
            try:
                semantic = _semantic(config, fitting_teacher(teacher, True, side, "teacher"))
            except FAILURES as error:
                name = f"{teacher.kind} {teacher.source}".strip()
                reason = " ".join([*str(error).split(), *[f"({away})"] * bool(away)])
                missing = f"the mask {masking.kind} follows the attention of {name}: {reason}"
    with torch.device("meta"):
        encoder = Encoder(config.model.encoder)
    if masking.kind == "frame_difference":
        encoder = build_encoder(config.model.encoder, seed=config.data.seed)
        if run is not None:
            encoder = load_encoder(run)
    return Looking(config, encoder, semantic, missing)


def _semantic(config: Config, teacher: Teacher | None) -> SemanticTeacher:
    stage = config.stage
    as_student = isinstance(stage, Stage1Config) and stage.teacher_input == "student"
    clip = STUDENT if as_student else "teacher"
    return SemanticTeacher(teacher, None, clip=clip, attention=True)


def _beside(config: Config) -> list[TeacherConfig]:
    """The teachers that get clips of their own, without reading any."""
    stage = config.stage
    found: list[object]
    if isinstance(stage, Stage1Config):
        decoded = stage.needs_teacher and stage.teacher_input == "decoded"
        found = [stage.teacher] * decoded + [stage.second_teacher] * stage.aligns_second
    else:
        found = [stage.teacher] * stage.needs_teacher + [stage.target]
    return [one for one in found if isinstance(one, TeacherConfig)]
