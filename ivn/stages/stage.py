"""The contract of a stage: its config, which answers without any network, and the stage itself.

A new stage is one file: a config (a frozen dataclass under :class:`StageConfig`, with a ``kind`` of
its own and the decorator :func:`stage_kind`) and the :class:`Stage` that the config builds.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ivn.data.batch import Batch, ClipSpec
from ivn.frozen import Teacher
from ivn.model.decoder import Decoder, DiffusionDecoder, PixelDecoder, PixelHead
from ivn.model.encoder import Encoder
from ivn.model.layers import wide_dtype
from ivn.model.model import AlignmentSizes, Model, ModelConfig
from ivn.model.packed import Index, take
from ivn.model.patch import normalised_patches, patch_grid
from ivn.model.predictor import Predictor

from .masks import Masking
from .semantic import SemanticTeacher
from .teachers import STUDENT, TEACHER, StageTeacher, TeacherSpec
from .terms import Term, mean_term

_TOKENS = ("cls_token", "pos_embed", "mask_token")
NO_ATTENTION = torch.empty(0)
_PREDICTOR_TOKENS = ("predictor.pos_embed", "predictor.mask_token")


@dataclass(frozen=True)
class BuildInputs:
    """The inputs from which a config builds its stage.

    Attributes:
        model: sizes of the student's networks.
        teachers: networks for the config's own ``teachers``, by the same names.
        seed: seed of the random weights.
        global_batch: clips of the global batch, on which multi-block masks depend.
        pretrained: False skips the text encoder's weights in the predictor.
    """

    model: ModelConfig
    teachers: Mapping[str, Teacher]
    seed: int
    global_batch: int
    pretrained: bool

    def heads(self, name: str, *, layers: bool, pooled: bool) -> AlignmentSizes | None:
        """Returns the heads that a student needs to be aligned with a teacher; None for none.

        Args:
            name: name of the teacher; there may be none of that name.
            layers: whether the tokens of its tapped layers are aligned.
            pooled: whether its pooled vector is aligned.
        """
        teacher = self.teachers.get(name)
        if teacher is None or not (layers or pooled):
            return None
        taps = teacher.num_taps if layers else 0
        return AlignmentSizes(taps, teacher.width, pooled, teacher.pooled_width)


class StageConfig(ABC):
    """Settings of a stage, and what they say of it before any network is built.

    Every config has the fields ``kind`` (of one possible value), ``frames`` and ``size`` (of the
    student's clips). A field whose name ends in ``_weight`` is the factor of a term.
    """

    if TYPE_CHECKING:  # fields of each stage's own dataclass, in an order of its own
        kind: str
        frames: int
        size: int

    def __post_init__(self) -> None:
        ClipSpec(self.frames, self.size)  # raises ValueError without frames or pixels
        self.masking(1).check_settings(self.frames)
        for name, value in vars(self).items():
            if name.endswith("_weight") and value < 0:
                raise ValueError(f"{name} is {value}, expected at least 0")

    @classmethod
    def members(cls) -> tuple[type["StageConfig"], ...]:
        """Returns the configs of all stages; text that is read as a config is one of them."""
        return tuple(_KINDS.values())

    @property
    def label(self) -> str:
        """The stage's name on a page."""
        return self.kind

    @property
    def teachers(self) -> Mapping[str, TeacherSpec]:
        """The frozen networks that a term or a mask asks, by the names of their fields.

        The attention of the one called "teacher" is what semantic masks follow and pages show.
        """
        return {}

    def teacher_named(self, name: str) -> TeacherSpec:
        """Returns one of the teachers.

        Raises:
            ValueError: The mask follows the attention of a teacher that is not chosen.
        """
        if name not in self.teachers:
            raise ValueError(
                f"stage.mask follows an image teacher's attention: choose stage.{name}.kind"
            )
        return self.teachers[name]

    @property
    def clip_specs(self) -> dict[str, ClipSpec]:
        """Consumer -> its share of a clip: the student's, and those of teachers with own clips."""
        own = [spec for spec in self.teachers.values() if spec.clip != STUDENT]
        specs = {STUDENT: ClipSpec(self.frames, self.size)}
        return specs | {spec.clip: spec.clip_spec(self.frames) for spec in own}

    @property
    def needs_start(self) -> str:
        """The reason why a new run needs weights to start from; "" where it needs none."""
        return ""

    @property
    def inherited(self) -> tuple[str, ...]:
        """The parts that begin with the weights of ``--init``, where they are given."""
        return ("encoder", "predictor")

    @property
    def needs_predictor(self) -> str:
        """Advice for a user whose weights of ``--init`` lack a predictor to inherit.

        "" where an encoder alone serves: the predictor then begins as in a run without ``--init``.
        """
        return ""

    @abstractmethod
    def masking(self, global_batch: int) -> Masking:
        """Returns the masks for global batches of so many clips."""

    @abstractmethod
    def build(self, inputs: BuildInputs) -> "Stage":
        """Returns the stage."""


_KINDS: dict[str, type[StageConfig]] = {}
C = TypeVar("C", bound=type[StageConfig])


def stage_kind(config: C) -> C:
    """Makes the config of a stage known by its kind to presets, files and commands.

    Raises:
        ValueError: another stage has the same kind.
    """
    if _KINDS.setdefault(config.kind, config) is not config:
        known = _KINDS[config.kind].__name__
        raise ValueError(f"{config.__name__} is of kind {config.kind!r}, which {known} has already")
    return config


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of one part that the optimiser treats alike."""

    name: str
    params: dict[str, nn.Parameter]
    weight_decay: bool


class Seen(NamedTuple):
    """The student's answer about a clip's visible tokens.

    Attributes:
        tapped_layers: the last K blocks, each with the positions of its head, ``[B, V, C]``.
        aligned_pooled: pooled vector in the teacher's space, ``[B, D]``; without that head
            ``[B, 0]``.
        predicted: the predictor's tokens in the masked places, ``[B, P, W]``, or packed; empty
            where nothing is predicted.
        features: streams after the last blocks, as many as any teacher aligns, ``[B, 4 + V, C]``.
    """

    tapped_layers: list[Tensor]
    aligned_pooled: Tensor
    predicted: Tensor
    features: list[Tensor]


class Stage(nn.Module, ABC):
    """A student and its objective.

    Attributes:
        part_names: names of the attributes that hold networks which train, or None.
        config: settings of the stage.
        clip_specs: consumer -> its share of a clip.
        teachers: frozen networks beside the student, by the names that the config gives them.
        masking: rule for the tokens that the student sees.
        loss_weights: weight of each term's mean in the loss.
        semantic: the teacher that tokens are aligned with; without a network where nothing is.
        aligned_blocks: how many of the encoder's last blocks are aligned with a teacher.
    """

    part_names: tuple[str, ...] = ("encoder", "predictor", "decoder")
    config: StageConfig
    loss_weights: dict[str, float]

    def __init__(
        self,
        config: StageConfig,
        model: Model,
        teachers: Mapping[str, Teacher],
        *,
        global_batch: int,
        predicts: bool,
        decay_predictor_tokens: bool = False,
    ) -> None:
        """Composes the parts that every stage has.

        Args:
            config: settings of the stage.
            model: the networks; parts that the config has no use for are left out.
            teachers: frozen networks; those that the config does not name are left out.
            global_batch: clips of the global batch, on which multi-block masks depend.
            predicts: False leaves predictor and decoder out.
            decay_predictor_tokens: whether the predictor's positions and mask token decay.
        """
        super().__init__()
        self.config = config
        self.clip_specs = config.clip_specs
        self.masking = config.masking(global_batch)
        self.masking.check(config.size // model.encoder.config.patch_size)
        self.encoder: Encoder = model.encoder
        self.predictor: Predictor | None = model.predictor if predicts else None
        self.decoder: Decoder | None = model.decoder if predicts else None
        named = config.teachers
        self.teachers = {
            name: StageTeacher(named[name], network)
            for name, network in teachers.items()
            if name in named
        }
        # For what moves modules; a teacher keeps its weights out of every state_dict.
        self.frozen = nn.ModuleDict({name: one.network for name, one in self.teachers.items()})
        self.semantic = SemanticTeacher()
        self.aligned_blocks = 0
        self._decayed_tokens = _PREDICTOR_TOKENS if decay_predictor_tokens else ()

    def align_blocks(self, count: int) -> None:
        """Taps so many of the encoder's last blocks for the teachers."""
        depth = self.encoder.config.depth
        if count > depth:
            raise ValueError(f"{count} aligned layers need as many blocks, the encoder has {depth}")
        self.aligned_blocks = count

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks that train, by name."""
        found = {name: getattr(self, name) for name in self.part_names}
        return {name: part for name, part in found.items() if part is not None}

    @property
    def decoder_of_pixels(self) -> PixelDecoder | None:
        """The part that draws pixels in the masked places; None where no part does."""
        decoders = (DiffusionDecoder, PixelHead)
        return next((part for part in self.parts.values() if isinstance(part, decoders)), None)

    def attention(self, batch: Batch) -> Tensor:
        """Returns the attention of the teacher called "teacher", ``[B, T, L]``; empty without one.

        Semantic masks follow it, and pages show it.
        """
        teacher = self.teachers.get(TEACHER)
        if teacher is None:
            return NO_ATTENTION
        return teacher.look(batch.clips, layers=False, pooled=False, attention=True).attention

    def mask(
        self, batch: Batch, attention: Tensor = NO_ATTENTION, *, view: int = 0
    ) -> tuple[Index, Index]:
        """Returns the visible tokens ``[B, V]`` and the masked ``[B, P]``, ascending, or packed.

        Args:
            batch: clips and keys.
            attention: the teacher's, ``[B, T, L]``; masks that are not semantic never read it.
            view: number of the mask among those of a clip.
        """
        return self.masking.draw(batch, self.encoder, attention, view=view)

    def student(
        self,
        video: Tensor,
        visible: Index,
        masked: Index,
        *,
        keys: Tensor | None = None,
        view: int = 0,
    ) -> Seen:
        """Encodes the ``visible`` ``[B, V]``, predicts the ``masked`` ``[B, P]``, or both packed.

        Args:
            video: the student's clips.
            visible, masked: tokens of each clip.
            keys: keys of the encoder's stochastic depth, ``[B, 4]``.
            view: number of the pass among several over the same clips.
        """
        encoder, dtype = self.encoder, self.encoder.dtype
        grid = patch_grid(video, encoder.config.patch_size)
        depth = encoder.config.depth
        taps = range(depth - self.aligned_blocks, depth)
        hidden, tapped = encoder.hidden(video, visible, taps=taps, keys=keys, view=view)
        features = [tapped[tap].to(dtype) for tap in taps]
        layers, pooled = self.semantic.student(encoder, features, hidden, visible, grid)
        predicted = hidden.new_empty(len(video), 0, 0)
        if self.predictor is not None:
            predicted = take(self.predictor(hidden.to(dtype), visible, grid), masked)
        return Seen(layers, pooled, predicted, features)

    def pixel_term(
        self,
        decoder: PixelDecoder,
        batch: Batch,
        masked: Tensor,
        predicted: Tensor,
        *,
        layer: int = 0,
    ) -> Term:
        """Returns the loss of ``decoder`` on the pixels of the ``masked`` patches.

        Two decodings of one clip draw different noise under different numbers ``layer``.
        """
        target = self.pixel_target(batch.clips[STUDENT], masked)
        return mean_term(decoder.loss(target, predicted, batch.keys, layer=layer))

    def pixel_target(self, video: Tensor, masked: Tensor) -> Tensor:
        """Returns the normalised pixels that a decoder reconstructs, ``[B, P, 3 * p * p]``."""
        dtype = wide_dtype(self.encoder.dtype)
        return normalised_patches(video, masked, self.encoder.config.patch_size, dtype)

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Term]:
        """Returns the terms of the objective on a batch, by the names in ``loss_weights``."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """Returns the number of values of each term, where clips have different numbers of tokens.

        Empty where all clips have equally many, so that any part of the batch tells.
        """
        return self._counts(batch) if self.masking.uneven else {}

    def _counts(self, batch: Batch) -> dict[str, int]:
        """Returns the number of values of every term; without it micro-batches are taken twice."""
        return {}

    def token_counts(self, batch: Batch, *, view: int = 0) -> tuple[int, int]:
        """Returns how many tokens of all clips are visible and masked, under multi-block masks."""
        patch_size = self.encoder.config.patch_size
        visible = sum(self.masking.lengths(batch, patch_size, view=view))
        grid = patch_grid(batch.clips[STUDENT], patch_size)
        return visible, len(batch) * grid[0] * grid[1] * grid[2] - visible

    def parameter_groups(self) -> list[ParameterGroup]:
        """Returns every trainable parameter once, by part and by whether it may decay.

        Positions and tokens decay only where the config says so. (Vectors never decay: that is the
        optimiser's rule.)
        """
        groups = []
        for part, module in self.parts.items():
            split: dict[bool, dict[str, nn.Parameter]] = {True: {}, False: {}}
            for key, parameter in module.named_parameters():
                if parameter.requires_grad:
                    token = key in _TOKENS and f"{part}.{key}" not in self._decayed_tokens
                    split[not token][f"{part}.{key}"] = parameter
            groups += [ParameterGroup(part, params, d) for d, params in split.items() if params]
        return groups

    def after_start(self) -> None:
        """Acts when the first weights of another run are loaded; does nothing by default."""

    def after_step(self, stepped: Tensor) -> None:
        """Acts after an optimiser step; does nothing by default.

        Args:
            stepped: bool scalar on the device, false where the step was skipped.
        """

    def features(self, batch: Batch) -> Tensor:
        """Returns the encoder's features of whole clips, ``[B, N, C]``."""
        return self.encoder(batch.clips[STUDENT])

    def cosines(self, means: Mapping[str, float]) -> dict[str, float]:
        """Returns the mean cosine to a target behind a term's mean, for the terms that have one."""
        return {}
