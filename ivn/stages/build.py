"""Builds the stage of a config, and starts it from other weights; knows no stage by name."""

from pathlib import Path
from typing import NamedTuple

from torch import nn

# The registry: importing a stage's module makes its config known.
import ivn.stages.stage1
import ivn.stages.stage2  # noqa: F401
from ivn.frozen import Teacher, build_teacher, frames_seen
from ivn.model.model import ModelConfig
from ivn.model.predictor import load_pretrained
from ivn.model.weights import read_encoder, read_model, recorded

from .stage import BuildInputs, Stage, StageConfig
from .teachers import STUDENT, TEACHER

__all__ = ["Stage", "StageConfig", "Start", "build_stage", "fitting_teacher", "initialise"]

# What may differ between a stage and the weights that it starts from.
_NO_SIZES = ("drop_path", "layer_scale", "residual_dtype", "init", "source")


def build_stage(
    model: ModelConfig,
    config: StageConfig,
    *,
    seed: int,
    batch_size: int,
    pretrained: bool = True,
) -> Stage:
    """Returns the stage of a config, with weights from ``seed``.

    Args:
        model: sizes of the student's networks.
        config: settings of the stage.
        seed: seed of the random weights.
        batch_size: clips of the global batch, on which multi-block masks depend.
        pretrained: False skips the text encoder's weights: a checkpoint brings the predictor's.

    Raises:
        ImportError: a teacher's extra is not installed.
        ValueError: a teacher cannot be read, or sizes do not fit.
    """
    if config.size % model.encoder.patch_size:
        raise ValueError(
            f"stage.size is {config.size}, expected a multiple of model.encoder.patch_size "
            f"{model.encoder.patch_size}"
        )
    side = config.size // model.encoder.patch_size
    names = dict.fromkeys([*config.teachers, *[TEACHER] * config.masking(batch_size).semantic])
    teachers = {name: fitting_teacher(config, name, side) for name in names}
    return config.build(BuildInputs(model, teachers, seed, batch_size, pretrained))


def fitting_teacher(config: StageConfig, name: str, side: int) -> Teacher:
    """Returns the network of one of the config's teachers, for frames of ``side`` tokens a side.

    Raises:
        ImportError: the extra of its kind is not installed.
        ValueError: it cannot be read, or has another number of tokens or of frames.
    """
    spec = config.teacher_named(name)
    teacher = build_teacher(spec.config)
    if teacher.grid != side:
        raise ValueError(
            f"the {name.replace('_', ' ')} sees {teacher.grid} x {teacher.grid} tokens of a frame "
            f"and the student {side} x {side}: choose stage.{name}.image_size or stage.size so "
            "that they agree"
        )
    frames = frames_seen(spec.config, config.frames)
    if spec.clip == STUDENT and frames != config.frames:
        raise ValueError(
            f"a {spec.config.kind} teacher sees {frames} frames, the student {config.frames}: "
            'choose stage.teacher_input "decoded"'
        )
    return teacher


class Start(NamedTuple):
    """The parts of a stage with another run's weights, and those that begin anew."""

    taken: list[str]
    new: list[str]


def initialise(stage: Stage, source: str | Path) -> Start:
    """Fills the parts of ``stage`` that its config inherits with another run's weights.

    Args:
        stage: the stage to fill; see :attr:`.stage.StageConfig.inherited`.
        source: a run folder, one of its checkpoints, the release's training checkpoint, or any
            other file or folder of weights.

    Raises:
        ValueError: sizes differ, or keys are missing or unexpected.
    """
    encoder = stage.encoder.config
    sizes = {
        "image_size": (encoder.image_height, encoder.image_width),
        "num_frames": encoder.num_frames,
        "num_heads": encoder.heads,
        "pool_heads": encoder.pool_heads,
    }
    taken = [name for name in stage.config.inherited if name in stage.parts]
    _check_recorded(stage, Path(source), taken)
    if stage.predictor is not None and "predictor" in taken:
        model = read_model(Path(source), sizes, stage.predictor.config)
        loaded: dict[str, nn.Module] = {"encoder": model.encoder}
        if model.predictor is not None:
            loaded["predictor"] = model.predictor
        elif stage.config.needs_predictor:
            raise ValueError(
                f"{source} has no predictor: give the run folder or a training checkpoint, or "
                f"{stage.config.needs_predictor}"
            )
        else:
            load_pretrained(stage.predictor)
    else:
        loaded = {"encoder": read_encoder(Path(source), sizes)}
    for name, theirs in loaded.items():
        ours = stage.parts[name]
        expected = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
        given = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
        for key in expected.keys() | given.keys():
            if expected.get(key) != given.get(key):
                raise ValueError(
                    f"{source}: {name}.{key} is {given.get(key, 'missing')}, "
                    f"this stage needs {expected.get(key, 'none')}"
                )
        ours.load_state_dict(theirs.state_dict())
    stage.after_start()
    return Start([*loaded], [name for name in stage.parts if name not in loaded])


def _check_recorded(stage: Stage, source: Path, parts: list[str]) -> None:
    """Raises ValueError where a source's card has other sizes, also such as no tensor shows."""
    card = recorded(source)
    for part in parts:
        ours = getattr(stage, part).config
        # The kind first: sizes of another kind tell nothing.
        for name, theirs in sorted(card.get(part, {}).items(), key=lambda item: item[0] != "kind"):
            if name in _NO_SIZES or getattr(ours, name, theirs) == theirs:
                continue
            raise ValueError(
                f"{source}: its {part}.{name} is {theirs}, this run's model.{part}.{name} is "
                f"{getattr(ours, name)}: choose the same sizes"
            )
