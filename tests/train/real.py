"""Both stages at a test's size, and batches of bundled clips for them."""

from ivn import stages
from ivn.config import override
from ivn.data.clip import Batch
from ivn.data.loader import ClipLoader
from ivn.data.source import BUNDLED_CLIPS, list_clips
from ivn.presets import PRESETS
from ivn.stages import Stage
from tests.test_cli import SMALL, STAGE1


def small(preset: str, *changes: str, batch_size: int = 8) -> tuple[Stage, Batch]:
    """A preset's stage with random weights, in training, and its first batch."""
    sizes = [*SMALL, *(STAGE1 if preset.startswith("stage1") else [])]
    config = override(PRESETS[preset](), *sizes, *changes)
    stage = stages.build(config.model, config.stage, seed=0, batch_size=batch_size).train()
    with ClipLoader(
        list_clips(BUNDLED_CLIPS), stage.clip_specs, config.data, batch_size=batch_size, workers=0
    ) as loader:
        return stage, next(loader)
