"""Complete configs by name: ``stage1-base``, ``stage2-tiny``, ``stage1-base-official``.

Plain names follow the paper (arXiv 2512.01342) and, where it is silent, its released code without
its plain defects; ``-official`` names follow the code and its scripts. Each difference between the
two is one field, and docs/presets.md lists all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from ivn import meant
from ivn.data.config import DataConfig
from ivn.errors import UsageError
from ivn.frozen import TeacherConfig, release_taps
from ivn.model.decoder import DiffusionConfig, LatentHeadConfig
from ivn.model.encoder import EncoderConfig
from ivn.model.model import ModelConfig
from ivn.model.predictor import PredictorConfig
from ivn.stages.blocks import Blocks
from ivn.stages.stage1 import Stage1Config
from ivn.stages.stage2 import Stage2Config
from ivn.train.optimizer import OptimConfig

from .run import Config

# The paper names no layer: the last block is aligned with the teacher's last. In bfloat16, since
# targets are compared by direction and this pass is most of stage one's cost.
_SIGLIP = TeacherConfig(
    "siglip", "google/siglip2-giant-opt-patch16-256", 256, taps=(40,), dtype="bfloat16"
)


@dataclass(frozen=True)
class Scale:
    """The settings that depend on the size of the model; the defaults are the paper's at all sizes.

    Attributes:
        encoder: sizes of the encoder.
        official_taps: taps of the released code.
        official_stage2_batch: clips per step in the released script of stage two.
        mask_group: number of clips that keep equally many tokens; it divides the paper's batch.
        official_mask_group: the same number in the released code: the clips of one process.
        predictor: sizes of the predictor.
        decoder: sizes of the decoder of pixels.
        teacher: stage one's teacher, with the paper's taps.
        stage2_frames: frames of stage two's clips.
        batch: clips per step in the paper.
        dtype: number type of the student.
        stage2_lr_scaling: whether stage two's rate grows with the batch.
    """

    encoder: EncoderConfig
    official_taps: tuple[int, ...]
    official_stage2_batch: int
    mask_group: int
    official_mask_group: int
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    decoder: DiffusionConfig = field(default_factory=DiffusionConfig)
    teacher: TeacherConfig = _SIGLIP
    stage2_frames: int = 32
    batch: int = 2048
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    stage2_lr_scaling: Literal["none", "linear"] = "linear"


# Taps of the released code, which lie 3.33 or 1.67 blocks apart.
_WIDE, _NARROW = release_taps(40, 3.33), release_taps(40, 1.67)
SCALES = {
    "tiny": Scale(
        EncoderConfig(
            192, 6, 3, 768, image_height=112, image_width=112, num_frames=8, pool_heads=4
        ),
        official_taps=(1,),
        official_stage2_batch=8,
        mask_group=0,
        official_mask_group=0,
        # In the places of the text encoder's last two layers, one local and one global.
        predictor=PredictorConfig(192, 3, 512, layers=2, init="scratch"),
        # A decoder narrower than a patch's 588 numbers cannot pass the noise through that it has to
        # estimate: at 256 the pixel term stays above 1 in the demo, at 640 it falls to 0.65.
        decoder=DiffusionConfig(depth=3, width=640),
        teacher=TeacherConfig("efficientnet", "", 256, taps=(1,)),
        stage2_frames=8,
        batch=8,
        dtype="float32",
        stage2_lr_scaling="none",
    ),
    "small": Scale(EncoderConfig(384, 12, 6, 1536, drop_path=0.1), _WIDE, 1792, 16, 14),
    "base": Scale(EncoderConfig(768, 12, 12, 3072, drop_path=0.1), _WIDE, 1792, 16, 14),
    "large": Scale(EncoderConfig(1024, 24, 16, 4096, drop_path=0.2), _NARROW, 1024, 8, 8),
    # The release has no script for it: rates, drop-path and taps are those of large.
    "huge": Scale(EncoderConfig(1408, 40, 16, 6144, drop_path=0.2), _NARROW, 1024, 8, 8),
}


def stage1(size: str) -> Config:
    """Returns stage one as the paper states it."""
    scale = SCALES[size]
    model = ModelConfig(scale.encoder, scale.predictor, scale.decoder, dtype=scale.dtype)
    return Config(
        name=f"stage1-{size}",
        data=DataConfig(),
        model=model,
        stage=_stage1(scale),
        optim=OptimConfig(scale.batch, epochs=50, lr=1e-3, lr_scaling="none", warmup_epochs=7),
    )


def stage1_official(size: str) -> Config:
    """Returns stage one as in the released code and its script."""
    config, scale = stage1(size), SCALES[size]
    return replace(
        config,
        name=f"stage1-{size}-official",
        data=replace(config.data, frame_offsets="released"),
        stage=replace(
            _stage1(scale),
            teacher=replace(scale.teacher, taps=scale.official_taps),
            mask="semantic_sampled",
            mask_ratio=0.75,
            mask_group=scale.official_mask_group,
            align_pooled=True,
            alignment_loss="two_minus_two_cosine",
            renormalise_pooled=False,
            teacher_input="student",
            decay_predictor_tokens=True,
        ),
        optim=replace(config.optim, epochs=62, lr_scaling="linear"),
    )


def stage2(size: str) -> Config:
    """Returns stage two as the paper states it; it starts from a run of stage one."""
    scale = SCALES[size]
    # The encoder's and the predictor's weights come from stage one.
    predictor = replace(scale.predictor, init="scratch")
    model = ModelConfig(scale.encoder, predictor, LatentHeadConfig(), dtype=scale.dtype)
    return Config(
        name=f"stage2-{size}",
        data=DataConfig(),
        model=model,
        stage=_stage2(scale),
        # The paper gives no rate: the release's 1e-4 for 256 clips, at the paper's batch.
        optim=OptimConfig(scale.batch, epochs=100, lr=1e-4, lr_scaling=scale.stage2_lr_scaling),
    )


def stage2_official(size: str) -> Config:
    """Returns stage two as in the released code and its script."""
    config, scale = stage2(size), SCALES[size]
    views = (
        Blocks(8, 0.15, truncate="prefix", restart=True, shared_aspect=True),
        Blocks(2, 0.7, truncate="prefix", restart=True, shared_aspect=True),
    )
    return replace(
        config,
        name=f"stage2-{size}-official",
        data=replace(config.data, frame_offsets="released"),
        stage=replace(
            _stage2(scale),
            mask_group=scale.official_mask_group,
            views=views,
            teacher_drop_path=True,
            decay_predictor_tokens=True,
        ),
        optim=replace(config.optim, batch_size=scale.official_stage2_batch, epochs=101),
    )


def _stage1(scale: Scale) -> Stage1Config:
    encoder = scale.encoder
    return Stage1Config(
        teacher=scale.teacher,
        frames=encoder.num_frames,
        size=encoder.image_height,
        mask_group=scale.mask_group,
    )


def _stage2(scale: Scale) -> Stage2Config:
    return Stage2Config(
        frames=scale.stage2_frames, size=scale.encoder.image_height, mask_group=scale.mask_group
    )


_FLAVOURS = {
    "stage1-{}": stage1,
    "stage2-{}": stage2,
    "stage1-{}-official": stage1_official,
    "stage2-{}-official": stage2_official,
}

PRESETS: dict[str, Callable[[], Config]] = {
    pattern.format(size): partial(make, size)
    for pattern, make in _FLAVOURS.items()
    for size in SCALES
}


def named_preset(name: str) -> Config:
    """Returns the config of a preset.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in PRESETS:
        near = meant.near(name, PRESETS) or ";"
        raise UsageError(f"no preset {name!r}{near} ivn config lists all")
    return PRESETS[name]()
