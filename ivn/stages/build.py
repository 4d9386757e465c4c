"""The two stages of pretraining: which parts they compose, and their objectives."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import nn

from ivn.frozen import Teacher, TeacherConfig, build_teacher
from ivn.model.model import AlignmentSizes, ModelConfig, build_model
from ivn.model.predictor import load_pretrained
from ivn.model.weights import read_encoder, read_model, recorded

from .semantic import NoTeacher
from .stage import Stage
from .stage1 import Stage1, Stage1Config
from .stage2 import FrozenStart, MomentumTarget, Stage2, Stage2Config

StageConfig = Stage1Config | Stage2Config

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
    side = config.size // model.encoder.patch_size
    teacher = fitting_teacher(config.teacher, config.needs_teacher, side, "teacher")
    student_input = isinstance(config, Stage1Config) and config.teacher_input == "student"
    if student_input and teacher is not None and teacher.frames_for(1) > 1:
        raise ValueError(
            f"a {config.teacher.kind} teacher sees {teacher.frames_for(config.frames)} frames, the "
            f'student {config.frames}: choose stage.teacher_input "decoded"'
        )
    if isinstance(config, Stage2Config):
        answer = config.target
        if isinstance(answer, TeacherConfig):
            answer = replace(answer, taps=answer.taps[-1:])
        target = fitting_teacher(answer, True, side, "target")
        student = build_model(
            model,
            _heads(teacher, layers=config.layers_weight > 0, pooled=False),
            seed=seed,
            pretrained=pretrained,
            latent_width=target.width if target else 0,
            pixel_decoder=config.pixel_decoder if config.pixels_weight else None,
        )
        return Stage2(
            config, student, global_batch=batch_size, image_teacher=teacher, target=target
        )
    second = fitting_teacher(config.second_teacher, config.aligns_second, side, "second_teacher")
    student = build_model(
        model,
        _heads(teacher, layers=config.layers_weight > 0, pooled=config.pools),
        seed=seed,
        pretrained=pretrained,
        predicts=config.pixels_weight > 0,
        second_alignment=_heads(second, layers=True, pooled=False),
    )
    return Stage1(config, student, teacher, second_teacher=second, global_batch=batch_size)


def fitting_teacher(
    config: TeacherConfig | NoTeacher | FrozenStart | MomentumTarget,
    needed: bool,
    side: int,
    name: str,
) -> Teacher | None:
    """The teacher of ``stage.<name>``, if it is needed, for frames of ``side`` tokens.

    Raises:
        ImportError, ValueError: it cannot be read, or its frames have another number of tokens.
    """
    if not (needed and isinstance(config, TeacherConfig)):
        return None
    teacher = build_teacher(config)
    if teacher.grid != side:
        raise ValueError(
            f"the {name.replace('_', ' ')} sees {teacher.grid} x {teacher.grid} tokens of a frame "
            f"and the student {side} x {side}: choose stage.{name}.image_size or stage.size so "
            "that they agree"
        )
    return teacher


def _heads(teacher: Teacher | None, *, layers: bool, pooled: bool) -> AlignmentSizes | None:
    if teacher is None or not (layers or pooled):
        return None
    taps = teacher.num_taps if layers else 0
    return AlignmentSizes(taps, teacher.width, pooled, teacher.pooled_width)


class Start(NamedTuple):
    """Which of a stage's parts another run brought, and which begin anew."""

    taken: list[str]
    new: list[str]


def initialise(stage: Stage, source: str | Path) -> Start:
    """Start ``stage`` from another run's encoder and, where it takes it, predictor, key by key.

    Stage one takes an encoder alone, too: its predictor then begins as without a source.

    Args:
        stage: to fill; see :attr:`Stage.inherited`.
        source: a run folder, one of its checkpoints, the release's training checkpoint, or any
            other file or folder of weights.

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
    taken = [name for name in stage.inherited if name in stage.parts]
    _check_recorded(stage, Path(source), taken)
    loaded: dict[str, nn.Module | None] = {}
    if stage.predictor is not None and "predictor" in taken:
        model = read_model(Path(source), sizes, stage.predictor.config)
        loaded = {"encoder": model.encoder, "predictor": model.predictor}
    else:
        loaded["encoder"] = read_encoder(Path(source), sizes)
    if isinstance(stage, Stage1) and stage.predictor is not None and loaded["predictor"] is None:
        load_pretrained(stage.predictor)
        taken.remove("predictor")
    for name in taken:
        ours, theirs = stage.parts[name], loaded[name]
        if theirs is None:
            raise ValueError(
                f"{source} has no {name}: give the run folder or a training checkpoint, or start "
                "from its encoder alone with --set stage.start=encoder"
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
    stage.after_start()
    return Start(taken, [name for name in stage.parts if name not in taken])


def _check_recorded(stage: Stage, source: Path, parts: list[str]) -> None:
    """Refuse a source whose card tells of other sizes, those too that no tensor's shape shows."""
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
