"""The whole method in miniature: both stages on the bundled clips, and a picture of the result."""

import json
from pathlib import Path

import torch
from torch import Tensor

from ivn import run
from ivn.config import Config, override
from ivn.data.clip import IMAGENET_MEAN, IMAGENET_STD, Batch, ClipSpec
from ivn.data.reader import read_centre
from ivn.data.source import BUNDLED_CLIPS, Source, list_clips
from ivn.load import load_encoder, load_model
from ivn.model.patch import patch_grid
from ivn.model.teacher import build_teacher
from ivn.ops.random import make_keys
from ivn.presets import PRESETS
from ivn.report.picture import ClipView, demo_picture
from ivn.stages import Stage1, Stage1Config, masks
from ivn.train import folder

SHOWN = ("car-detection-1.mp4", "asl-book.mp4", "big-buck-bunny.mp4")
STEPS = {"stage1": 60, "stage2": 40}
SAMPLING_STEPS = 50
# The largest magnitude of a normalised pixel.
BRIGHTEST = max((1 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))


def demo(out: Path) -> int:
    """Run stage one and stage two of ``tiny`` and draw what they learnt.

    Args:
        out: a new folder; it gets ``stage1/``, ``stage2/`` and ``demo.png``.

    Returns:
        The exit code: 0, or that of the run that was stopped.
    """
    folder.check_free(out)
    previous = ""
    for stage in STEPS:
        clips = len(list_clips(BUNDLED_CLIPS))
        print(f"\n{stage}: {STEPS[stage]} steps on {clips} clips", flush=True)
        code = run.start(
            _config(stage),
            data=BUNDLED_CLIPS,
            out=out / stage,
            init=previous,
            show_config=False,
        )
        if code:
            return code
        previous = str(out / stage)
    print()
    for stage in STEPS:
        print(f"{stage}: {losses(out / stage)}")
    picture = draw(out)
    print(f"picture: {picture}")
    return 0


def losses(run_dir: Path) -> str:
    """Each term of a run's loss in its first and last tenth of steps, in words."""
    lines = [json.loads(line) for line in (run_dir / folder.LOG).read_text().splitlines()]
    tenth = max(1, len(lines) // 10)

    def mean(part: list[dict], name: str) -> float:
        return sum(line["terms"][name] for line in part) / len(part)

    return ", ".join(
        f"{name} {mean(lines[:tenth], name):.3f} -> {mean(lines[-tenth:], name):.3f}"
        for name in lines[0]["terms"]
    )


@torch.no_grad()
def draw(out: Path) -> Path:
    """Write ``demo.png``: masks on real frames, reconstructions, features of all encoders."""
    config = _config("stage1")
    assert isinstance(config.stage, Stage1Config)
    student = load_model(out / "stage1")
    stage = Stage1(config.stage, student, build_teacher(config.stage.teacher)).eval()
    encoders = {
        "random": load_encoder(config.name),
        "stage 1": student.encoder,
        "stage 2": load_encoder(out / "stage2"),
    }
    views = []
    for number, name in enumerate(SHOWN):
        clips = _clip(BUNDLED_CLIPS / name, stage.clip_specs)
        batch = Batch(clips, make_keys(0, 0, [number]))
        video = clips["student"]
        targets = stage.look(batch)
        visible = stage.mask(targets.attention, batch.keys)
        grid = patch_grid(video, config.model.encoder.patch_size)
        masked = masks.complement(visible, grid[0] * grid[1] * grid[2])
        z = stage.student(video, visible, masked).predicted
        patches = stage.decoder.sample(z, batch.keys, steps=SAMPLING_STEPS, limit=BRIGHTEST)
        features = {label: encoder(video) for label, encoder in encoders.items()}
        features["teacher"] = targets.layers[-1]
        views.append(_view(name, video, visible, masked, patches, features))
    path = out / "demo.png"
    steps = f"{STEPS['stage1']} + {STEPS['stage2']} steps of a tiny model on a few clips"
    demo_picture(
        views, title="ivn demo", subtitle=f"{steps}: what is learnt so early is little"
    ).save(path)
    return path


def _config(stage: str) -> Config:
    return override(
        PRESETS[f"{stage}-tiny"](),
        f"optim.steps={STEPS[stage]}",
        "run.log_every=5",
    )


def _clip(path: Path, specs: dict[str, ClipSpec]) -> dict[str, Tensor]:
    return {name: read_centre(Source(str(path)), spec)[None] for name, spec in specs.items()}


def _view(
    name: str,
    video: Tensor,
    visible: Tensor,
    masked: Tensor,
    patches: Tensor,
    features: dict[str, Tensor],
) -> ClipView:
    return ClipView(
        title=name,
        frames=video[0].numpy(),
        visible_index=visible[0].numpy(),
        predicted_index=masked[0].numpy(),
        predicted=patches[0].numpy(),
        features={label: tokens[0].numpy() for label, tokens in features.items()},
    )
