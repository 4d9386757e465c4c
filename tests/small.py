"""Real stages at a size that takes milliseconds: 4 frames of 56 pixels are 64 tokens."""

import torch

from ivn.config.presets import PRESETS
from ivn.config.run import Config, override
from ivn.data.batch import Batch
from ivn.keys import make_keys
from ivn.stages.build import build_stage
from ivn.stages.stage import Stage

SIZES = [
    "model.encoder.width=48",
    "model.encoder.depth=2",
    "model.encoder.hidden=64",
    "model.encoder.image_height=56",
    "model.encoder.image_width=56",
    "model.encoder.num_frames=4",
    "model.encoder.pool_width=48",
    "model.predictor.width=48",
    "model.predictor.hidden=64",
    "stage.frames=4",
    "stage.size=56",
]
ENCODER = [
    *SIZES,
    "model.encoder.drop_path=0.3",
    "optim.batch_size=4",
    "efficiency.device=cpu",
]
STAGE1 = [
    # A SigLIP of 4 blocks with random weights: it needs transformers and no file.
    "stage.teacher.kind=siglip",
    "stage.teacher.source=tiny",
    "stage.teacher.image_size=64",
    "stage.teacher.taps=[4]",
    "stage.teacher.weights=random",
    "model.decoder.depth=1",
    "model.decoder.width=32",
]


def small_config(preset: str, *changes: str) -> Config:
    """A tiny preset, smaller still."""
    stage1 = STAGE1 if preset.startswith("stage1") else []
    return override(PRESETS[preset](), *ENCODER, *stage1, *changes)


def small_stage(config: Config) -> Stage:
    """The stage of ``config``, in training mode."""
    size = config.optim.batch_size
    return build_stage(config.model, config.stage, seed=0, batch_size=size).train()


def random_batch(stage: Stage, size: int = 4) -> Batch:
    """Clips of random pixels for every consumer, always the same."""
    draw = torch.Generator().manual_seed(3)
    clips = {}
    for name, spec in stage.clip_specs.items():
        shape = (size, spec.frames, spec.size, spec.size, 3)
        clips[name] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
    return Batch(clips, make_keys(7, 1, range(size)))
