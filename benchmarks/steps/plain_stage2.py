"""Stage two's step in plain eager PyTorch."""

from torch import Tensor

from ivn.keys import Purpose
from ivn.stages.stage import NO_ATTENTION

from . import plain_model as plain
from .plain_step import Draws, PlainStep


class PlainStage2(PlainStep):
    """Features of the masked tokens, as the frozen encoder has them."""

    def terms(self, draws: Draws) -> dict[str, Tensor]:
        views = range(self.stage.masking.views)
        taught = self.stage.config.teacher_drop_path
        return plain.stage2_losses(
            self.model,
            self.video,
            [self.mask(NO_ATTENTION, view) for view in views],
            drop=[self.drop(draws, Purpose.DROP_PATH, view) for view in views],
            teacher_drop=self.drop(draws, Purpose.TEACHER_DROP_PATH, 0) if taught else None,
        )
