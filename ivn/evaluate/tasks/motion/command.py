"""``ivn evaluate motion``."""

from ivn.evaluate.command import finish, listed, result_folder
from ivn.evaluate.subjects import subjects
from ivn.progress import tracked

from .options import Motion
from .scenes import BundledPictures
from .table import motion_table
from .task import Frames, probe_motion


def run(options: Motion) -> int:
    """Measures camera motion over bundled and drawn pictures, or over frames of videos."""
    out = result_folder("motion", options)
    frozen, baselines = subjects(options)
    data, seed = options.data, options.seed
    frames = Frames(listed(data), seed, [*frozen, *baselines]) if data else None
    pictures = BundledPictures(seed=seed) if frames is None else frames
    result = probe_motion(
        frozen,
        tracked(pictures, "camera motion", len(pictures), errors=True),
        seed=seed,
        baselines=baselines,
    )
    result.facts["data"] = data or "bundled clips and drawn scenes"
    if frames is not None:
        result.facts["notes"], result.skipped = frames.notes(), frames.skipped
    return finish(result, motion_table(result), out)
