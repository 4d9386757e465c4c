"""The two stages of pretraining: which parts they compose, and their objectives."""

from pathlib import Path

from ivn.model.model import AlignmentSizes, ModelConfig, build_model
from ivn.model.teacher import build_teacher
from ivn.model.weights import read_model, recorded

from .blocks import Blocks, MaskError
from .parts import ParameterGroup, Stage, Term
from .stage1 import Stage1, Stage1Config
from .stage2 import Stage2, Stage2Config

StageConfig = Stage1Config | Stage2Config

# What may differ between a stage and the weights that it starts from.
_NO_SIZES = ("drop_path", "layer_scale", "residual_dtype", "init", "source")


def build(
    model: ModelConfig,
    config: StageConfig,
    *,
    seed: int,
    batch_size: int,
    pretrained: bool = True,
) -> Stage:
    """The stage of a config, with weights from ``seed``.

    Args:
        model: sizes of the student's networks.
        config: of the stage.
        seed: of the random weights.
        batch_size: clips of the global batch, on which multi-block masks depend.
        pretrained: False skips the text encoder's weights: a checkpoint brings the predictor's.
    """
    if config.size % model.encoder.patch_size:
        raise ValueError(
            f"stage.size is {config.size}, expected a multiple of model.encoder.patch_size "
            f"{model.encoder.patch_size}"
        )
    if isinstance(config, Stage2Config):
        student = build_model(model, None, seed=seed, pretrained=pretrained)
        return Stage2(config, student, global_batch=batch_size)
    teacher = build_teacher(config.teacher)
    side = config.size // model.encoder.patch_size
    if teacher.grid != side:
        raise ValueError(
            f"the teacher sees {teacher.grid} x {teacher.grid} tokens of a frame and the student "
            f"{side} x {side}: choose stage.teacher.image_size or stage.size so that they agree"
        )
    sizes = AlignmentSizes(teacher.num_taps, teacher.width, config.align_pooled)
    return Stage1(config, build_model(model, sizes, seed=seed, pretrained=pretrained), teacher)


def initialise(stage: Stage, source: str | Path) -> list[str]:
    """Start ``stage`` from another run's encoder and predictor, key by key.

    Args:
        stage: to fill; a stage two then freezes its teacher as the loaded encoder.
        source: a run folder, one of its checkpoints, or the release's training checkpoint.

    Returns:
        The parts that the source does not bring, which therefore start anew.

    Raises:
        ValueError: sizes differ, keys are missing or left over.
    """
    encoder = stage.encoder.config
    sizes = {
        "image_size": (encoder.image_height, encoder.image_width),
        "num_frames": encoder.num_frames,
        "num_heads": encoder.heads,
        "pool_heads": encoder.pool_heads,
    }
    _check_recorded(stage, Path(source))
    loaded = read_model(Path(source), sizes, stage.predictor.config)
    for name in ("encoder", "predictor"):
        ours, theirs = stage.parts[name], getattr(loaded, name)
        if theirs is None:
            raise ValueError(
                f"{source} has no {name}: give the run folder or a training checkpoint"
            )
        expected = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
        given = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
        for key in expected.keys() | given.keys():
            if expected.get(key) != given.get(key):
                raise ValueError(
                    f"{source}: {name}.{key} is {given.get(key, 'missing')}, "
                    f"this stage needs {expected.get(key, 'none')}"
                )
        ours.load_state_dict(theirs.state_dict())
    if isinstance(stage, Stage2):
        stage.freeze_teacher()
    return [name for name in stage.parts if name not in ("encoder", "predictor")]


def _check_recorded(stage: Stage, source: Path) -> None:
    """Refuse a source whose card tells of other sizes, those too that no tensor's shape shows."""
    card = recorded(source)
    for part in ("encoder", "predictor"):
        ours = getattr(stage, part).config
        for name, theirs in card.get(part, {}).items():
            if name in _NO_SIZES or getattr(ours, name, theirs) == theirs:
                continue
            raise ValueError(
                f"{source}: its {part}.{name} is {theirs}, this run's model.{part}.{name} is "
                f"{getattr(ours, name)}: choose the same sizes"
            )


__all__ = [
    "Blocks",
    "MaskError",
    "ParameterGroup",
    "Stage",
    "Stage1",
    "Stage1Config",
    "Stage2",
    "Stage2Config",
    "StageConfig",
    "Term",
    "build",
    "initialise",
]
