"""What both stages are made of: loss terms, parameter groups, and a student."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ivn.data.clip import IMAGENET_MEAN, IMAGENET_STD, Batch, ClipSpec
from ivn.model.decoder import Decoder
from ivn.model.encoder import Encoder
from ivn.model.layers import wide_dtype
from ivn.model.model import Model
from ivn.model.patch import take_patches
from ivn.model.predictor import Predictor
from ivn.ops import gather_target_patches

_TOKENS = ("cls_token", "pos_embed", "mask_token")


@dataclass(frozen=True)
class Term:
    """A part of the loss: a sum with its gradient, and over how many values it is.

    Both are added up over micro-batches and processes before they are divided.
    """

    total: Tensor
    count: Tensor


def mean_term(values: Tensor) -> Term:
    """The mean of ``values``, as a sum in at least fp32 and a count."""
    # The count stays on the host: it is known there, and copying it would wait for the device.
    count = torch.tensor(values.numel(), dtype=torch.int64)
    return Term(values.to(wide_dtype(values.dtype)).sum(), count)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of one part that the optimiser treats alike."""

    name: str
    params: dict[str, nn.Parameter]
    weight_decay: bool


class Stage(nn.Module, ABC):
    """A student and its objective.

    Attributes:
        clip_specs: what each consumer sees of a clip.
        loss_weights: the weight of each term's mean in the loss.
    """

    clip_specs: dict[str, ClipSpec]
    loss_weights: dict[str, float]

    def __init__(self, model: Model, *, decayed_tokens: Iterable[str]) -> None:
        super().__init__()
        if model.predictor is None or model.decoder is None:
            raise ValueError("a stage needs a model with a predictor and a decoder")
        self.encoder: Encoder = model.encoder
        self.predictor: Predictor = model.predictor
        self.decoder: Decoder = model.decoder
        self._decayed_tokens = frozenset(decayed_tokens)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks that train, by name."""
        return {"encoder": self.encoder, "predictor": self.predictor, "decoder": self.decoder}

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Term]:
        """The terms of the objective on a batch."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """How many values each term of ``batch`` is over, where clips have different numbers.

        Empty where all clips have as many: any of them then tells.
        """
        return {}

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

    def after_step(self) -> None:
        """What follows an optimiser step; nothing, with frozen teachers."""

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
