"""A stage's step in plain eager PyTorch, to which ``bench_step.py`` compares ours.

The networks are those of ``plain_model.py``, with PyTorch's own fused attention, automatic
mixed precision and random numbers, as somebody who writes such a step today would have them. The
step of the stage ``stage1`` is ``PlainStage1`` in ``plain_stage1.py``.
"""

import importlib
from abc import ABC, abstractmethod
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.data.batch import Batch
from ivn.frozen import Targets
from ivn.keys import Purpose
from ivn.ops.random import integers, normal, uniform
from ivn.stages.stage import Stage

from . import plain_model as plain


class Draws(Protocol):
    """The source of a step's random numbers and of its mask's saliency."""

    def uniform(self, purpose: Purpose, count: int, view: int) -> Tensor: ...
    def timestep(self, count: int) -> Tensor: ...
    def noise(self, count: int, features: int) -> Tensor: ...
    def attention(self, seen: Targets) -> Tensor: ...


class Native:
    """PyTorch's generator, and the saliency of the plain teacher, for timing."""

    def __init__(self, batch: Batch) -> None:
        self.B, self.device = len(batch), batch.keys.device

    def uniform(self, purpose: Purpose, count: int, view: int) -> Tensor:
        return torch.rand(self.B, count, device=self.device)

    def timestep(self, count: int) -> Tensor:
        return torch.randint(plain.STEPS, (self.B * count,), device=self.device)

    def noise(self, count: int, features: int) -> Tensor:
        return torch.randn(self.B * count, features, device=self.device)

    def attention(self, seen: Targets) -> Tensor:
        return seen.attention


class Same:
    """The stage's own draws and views, so that both steps must find the same losses."""

    def __init__(self, stage: Stage, batch: Batch) -> None:
        self.stage, self.batch = stage, batch

    def uniform(self, purpose: Purpose, count: int, view: int) -> Tensor:
        return uniform(self.batch.keys, purpose, count, layer=view)

    def timestep(self, count: int) -> Tensor:
        return integers(self.batch.keys, Purpose.TIMESTEP, count, plain.STEPS).flatten()

    def noise(self, count: int, features: int) -> Tensor:
        numbers = normal(self.batch.keys, Purpose.NOISE, count * features)
        return numbers.view(-1, features)

    def attention(self, seen: Targets) -> Tensor:
        return self.stage.attention(self.batch)


def plain_step(stage: Stage, batch: Batch) -> "PlainStep":
    """The plain step of a stage, found by the stage's kind."""
    kind = stage.config.kind
    module = importlib.import_module(f"{__package__}.plain_{kind}")
    return getattr(module, f"Plain{kind.capitalize()}")(stage, batch)


class PlainStep(ABC):
    """A stage's objective on one batch, on parameters of its own.

    Clips are float and normalised before the clock starts, so conversion takes no time here.
    """

    def __init__(self, stage: Stage, batch: Batch) -> None:
        self.stage, self.batch = stage, batch
        self.parameters = {
            name: parameter.detach().clone().requires_grad_(parameter.requires_grad)
            for name, parameter in stage.named_parameters()
        }
        sizes = (stage.encoder.config, stage.predictor.config)
        self.model = plain.PlainModel(self.parameters, *sizes, attend=fused_attention)
        self.video = plain.normalise(batch.clips["student"], torch.float32)
        if "teacher" in batch.clips:
            pixels = batch.clips["teacher"].permute(0, 1, 4, 2, 3).flatten(0, 1) / 255
            self.images = (pixels - 0.5) / 0.5

    def loss(self, draws: Draws, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the weighted sum and its terms, computed in ``dtype`` if that is narrower."""
        narrow = dtype != torch.float32
        with torch.autocast(self.video.device.type, dtype=torch.bfloat16, enabled=narrow):
            terms = self.terms(draws)
        weights = self.stage.loss_weights
        return sum(weights[name] * term for name, term in terms.items()), terms

    @abstractmethod
    def terms(self, draws: Draws) -> dict[str, Tensor]:
        """The mean of every term."""

    def mask(self, attention: Tensor, view: int = 0) -> Tensor:
        """A view's visible tokens as booleans ``[B, N]``; drawn as the stage does."""
        grid = self.model.grid(self.video)
        visible, _ = self.stage.mask(self.batch, attention, view=view)
        assert isinstance(visible, Tensor)
        return plain.to_mask(visible, grid[0] * grid[1] * grid[2])

    def drop(self, draws: Draws, purpose: Purpose, view: int) -> Tensor | None:
        sizes = self.model.encoder
        if sizes.drop_path == 0:
            return None
        return plain.drop_factors(draws.uniform(purpose, 2 * sizes.depth, view), sizes.drop_path)


def fused_attention(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    """Returns PyTorch's own attention; written out, scores of ``base`` would not fit on a GPU."""
    dtype = value.dtype  # under mixed precision rotary positions widen queries and keys
    return F.scaled_dot_product_attention(query.to(dtype), key.to(dtype), value, attn_mask=allowed)
