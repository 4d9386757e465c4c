"""What both stages are made of: loss terms, parameter groups, and a student."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD, Batch, ClipSpec
from ivn.model.decoder import Decoder, PixelDecoder
from ivn.model.encoder import Encoder
from ivn.model.layers import wide_dtype
from ivn.model.model import Model
from ivn.model.packed import Index, take
from ivn.model.patch import patch_grid, take_patches
from ivn.model.predictor import Predictor
from ivn.ops import gather_target_patches

from .masks import Masking
from .semantic import SemanticTeacher
from .terms import Term, mean_term

_TOKENS = ("cls_token", "pos_embed", "mask_token")
NO_ATTENTION = torch.empty(0)
_PREDICTOR_TOKENS = ("predictor.pos_embed", "predictor.mask_token")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of one part that the optimiser treats alike."""

    name: str
    params: dict[str, nn.Parameter]
    weight_decay: bool


class Seen(NamedTuple):
    """What the student makes of a clip's visible tokens.

    Attributes:
        tapped_layers: its last K blocks, each with the positions of its head, ``[B, V, C]``.
        aligned_pooled: its pooled vector there, ``[B, D]``; without that head ``[B, 0]``.
        predicted: the predictor's tokens in the masked places, ``[B, P, W]``, or packed; empty
            where nothing is predicted.
        features: the streams after its last blocks, as many as any teacher aligns,
            ``[B, 4 + V, C]``.
    """

    tapped_layers: list[Tensor]
    aligned_pooled: Tensor
    predicted: Tensor
    features: list[Tensor]


class Stage(nn.Module, ABC):
    """A student and its objective.

    Attributes:
        clip_specs: what each consumer sees of a clip.
        loss_weights: the weight of each term's mean in the loss.
        inherited: the parts that begin as those of another run, where one is given.
        masking: which tokens the student sees.
        semantic: the teacher beside the student, in name only where nothing is asked of it.
        aligned_blocks: of the encoder's last blocks, how many are aligned with a teacher.
    """

    clip_specs: dict[str, ClipSpec]
    loss_weights: dict[str, float]
    inherited: tuple[str, ...] = ("encoder", "predictor")
    masking: Masking
    semantic: SemanticTeacher
    aligned_blocks: int

    def __init__(self, model: Model, *, predicts: bool, decay_predictor_tokens: bool) -> None:
        """Without ``predicts`` the stage has neither predictor nor decoder."""
        super().__init__()
        self.encoder: Encoder = model.encoder
        self.predictor: Predictor | None = model.predictor if predicts else None
        self.decoder: Decoder | None = model.decoder if predicts else None
        self._decayed_tokens = _PREDICTOR_TOKENS if decay_predictor_tokens else ()

    def align_blocks(self, count: int) -> None:
        """Tap so many of the encoder's last blocks for the teachers beside it."""
        depth = self.encoder.config.depth
        if count > depth:
            raise ValueError(f"{count} aligned layers need as many blocks, the encoder has {depth}")
        self.aligned_blocks = count

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks that train, by name."""
        found = {"encoder": self.encoder, "predictor": self.predictor, "decoder": self.decoder}
        return {name: part for name, part in found.items() if part is not None}

    def mask(
        self, batch: Batch, attention: Tensor = NO_ATTENTION, *, view: int = 0
    ) -> tuple[Index, Index]:
        """The visible tokens ``[B, V]`` and the masked ``[B, P]``, ascending; or both packed.

        ``attention`` is the teacher's, ``[B, T, L]``; masks that are not semantic never read it.
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
        """Encode the ``visible`` ``[B, V]``, predict the ``masked`` ``[B, P]``; both may be packed.

        Args:
            video: the student's clips.
            visible, masked: tokens of each clip.
            keys: ``[B, 4]``, of the encoder's stochastic depth.
            view: which of several passes over the same clips.
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
        """``decoder``'s loss on the pixels of the ``masked`` patches; ``layer`` parts its noise."""
        target = self.pixel_target(batch.clips["student"], masked)
        return mean_term(decoder.loss(target, predicted, batch.keys, layer=layer))

    def pixel_target(self, video: Tensor, masked: Tensor) -> Tensor:
        """What a decoder of pixels reconstructs: ``[B, P, 3 * p * p]`` normalised pixels."""
        dtype = wide_dtype(self.encoder.dtype)
        return pixel_target(video, masked, self.encoder.config.patch_size, dtype)

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Term]:
        """The terms of the objective on a batch."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """How many values each term of ``batch`` is over, where clips have different numbers.

        Empty where all clips have as many: any of them then tells.
        """
        return self._counts(batch) if self.masking.uneven else {}

    @abstractmethod
    def _counts(self, batch: Batch) -> dict[str, int]:
        """The number of values of every term."""

    def token_counts(self, batch: Batch, *, view: int = 0) -> tuple[int, int]:
        """How many tokens of all clips are visible and masked, under multi-block masks."""
        patch_size = self.encoder.config.patch_size
        visible = sum(self.masking.lengths(batch, patch_size, view=view))
        grid = patch_grid(batch.clips["student"], patch_size)
        return visible, len(batch) * grid[0] * grid[1] * grid[2] - visible

    def parameter_groups(self) -> list[ParameterGroup]:
        """Every trainable parameter once: by part, positions and tokens apart from the rest.

        Those decay only where a stage's config says so. (Vectors never do: the optimiser's rule.)
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
        """What follows the loading of first weights from another run; nothing, by default."""

    def after_step(self, stepped: Tensor) -> None:
        """What follows an optimiser step; nothing, with frozen teachers.

        ``stepped`` is a bool scalar on the device: false where the step was skipped.
        """

    def features(self, batch: Batch) -> Tensor:
        """The encoder's features of whole clips, ``[B, N, C]``."""
        return self.encoder(batch.clips["student"])

    @abstractmethod
    def cosines(self, means: Mapping[str, float]) -> dict[str, float]:
        """The mean cosine to the teacher behind each term's mean, of the terms that have one."""


def check_clip(frames: int, size: int) -> None:
    """Refuse a stage's clips of no frames or no pixels."""
    if frames < 1 or size < 1:
        raise ValueError(f"frames {frames}, size {size}: expected at least 1 of each")


def pixel_target(video: Tensor, index: Tensor, patch_size: int, dtype: torch.dtype) -> Tensor:
    """Normalised pixels of the patches at ``index``, ``[B, P, 3 * p * p]``, channels slowest.

    ``video`` is uint8 ``[B, T, H, W, 3]``, or ImageNet-normalised float ``[B, 3, T, H, W]``.
    """
    if video.dtype == torch.uint8:
        return gather_target_patches(
            video, index, patch_size=patch_size, mean=IMAGENET_MEAN, std=IMAGENET_STD, dtype=dtype
        )
    rows = take_patches(video, index, patch_size).unflatten(2, (-1, 3))
    return rows.transpose(2, 3).flatten(2).to(dtype)
