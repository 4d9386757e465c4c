"""Both stages at a test's size, with a batch of bundled clips."""

from ivn.data.batch import Batch
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.media.source import BUNDLED_CLIPS
from ivn.stages.stage import Stage
from tests.small import small_config, small_stage


def small(preset: str, *changes: str, batch_size: int = 8) -> tuple[Stage, Batch]:
    """A preset's stage with random weights, in training, and its first batch."""
    config = small_config(preset, *changes, f"optim.batch_size={batch_size}")
    stage = small_stage(config)
    with ClipLoader(
        list_clips(BUNDLED_CLIPS), stage.clip_specs, config.data, batch_size=batch_size, workers=0
    ) as loader:
        return stage, next(loader)
