"""The masks that a stage draws for clips, from its config or from a run's newest weights."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from ivn.config.run import Config
from ivn.data.batch import Batch, ClipSpec
from ivn.load import load_encoder
from ivn.model.encoder import Encoder, build_encoder
from ivn.report.collect.opened import FAILURES
from ivn.report.collect.views import Mask, drawn_masks
from ivn.report.contact.hub import hub_or_cache
from ivn.stages.build import fitting_teacher
from ivn.stages.stage import NO_ATTENTION
from ivn.stages.teachers import TEACHER, StageTeacher


@dataclass(frozen=True)
class MaskNetworks:
    """The networks that a stage's masks follow.

    Attributes:
        config: the run's config.
        encoder: the student's encoder; without weights where no mask follows its embeddings.
        teacher: the teacher whose attention masks follow; None where they follow none.
        missing: reason, in a line, why there are no masks; "" where there are.
    """

    config: Config
    encoder: Encoder
    teacher: StageTeacher | None
    missing: str

    @property
    def specs(self) -> dict[str, ClipSpec]:
        """Consumer -> its share of a clip.

        Teachers decide the student's frames, too: it gets every other of twice as many.
        """
        return self.config.stage.clip_specs

    @torch.no_grad()
    def masks(self, batch: Batch) -> list[Mask]:
        """Returns the masks of a clip, a batch of one; none where they are missing."""
        if self.missing:
            return []
        attention = NO_ATTENTION
        if self.teacher is not None:
            seen = self.teacher.look(batch.clips, layers=False, pooled=False, attention=True)
            attention = seen.attention
        masking = self.config.stage.masking(self.config.optim.batch_size)
        return drawn_masks(masking, self.encoder, batch, attention)


def mask_networks(config: Config, run: Path | None) -> MaskNetworks:
    """Returns the networks for the masks of a config, or of a run at its newest checkpoint."""
    masking = config.stage.masking(config.optim.batch_size)
    teacher, missing = None, ""
    if masking.semantic:
        spec = config.stage.teacher_named(TEACHER)
        source = spec.config.source
        side = config.stage.size // config.model.encoder.patch_size
        from_hub = bool(source) and not Path(source).exists()
        with hub_or_cache() if from_hub else nullcontext("") as away:
            try:
                teacher = StageTeacher(spec, fitting_teacher(config.stage, TEACHER, side))
            except FAILURES as error:
                name = f"{spec.config.kind} {source}".strip()
                reason = " ".join([*str(error).split(), *[f"({away})"] * bool(away)])
                missing = f"the mask {masking.kind} follows the attention of {name}: {reason}"
    with torch.device("meta"):
        encoder = Encoder(config.model.encoder)
    if masking.kind == "frame_difference":
        encoder = build_encoder(config.model.encoder, seed=config.data.seed)
        if run is not None:
            encoder = load_encoder(run)
    return MaskNetworks(config, encoder, teacher, missing)
