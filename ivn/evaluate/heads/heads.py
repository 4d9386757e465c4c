"""Heads that read frozen features out, many at once: every parameter has one row per head.

Legend: H heads, b samples, N tokens, C width, K classes, A attention heads, d = C / A.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.keys import Purpose, make_keys
from ivn.ops.random import uniform

Parameters = Mapping[str, Tensor]  # name -> [H, ...]

INNER_FOLDS = 4  # parts of the training videos, of which each can judge a grid once
ATTENTION_HEADS = 16
_NARROWEST = 32  # least width of an attention head
STD = 0.02
_BLOCKS = 3
_MLP_RATIO = 4


Point = dict[str, float]  # a point of a grid: "lr" and "wd", or "k"


@dataclass(frozen=True)
class Grid:
    """Learning rates x weight decays, and the number of inner folds that judge them."""

    lr: tuple[float, ...]
    wd: tuple[float, ...]
    judges: int = 1

    def points(self) -> list[Point]:
        """Returns every pair."""
        return [{"lr": lr, "wd": wd} for lr in self.lr for wd in self.wd]


@dataclass(frozen=True)
class InitialValue:
    """Initial values of a parameter: normal, cut at two deviations, or constant."""

    shape: tuple[int, ...]
    std: float = 0.0
    value: float = 0.0


class Head(ABC):
    """A kind of head, for features of one shape.

    Args:
        shape: shape of one view's features, as :meth:`arranged` gives them.
        classes: number of classes, K.

    Attributes:
        grid: learning rates and weight decays to choose from.
    """

    grid: ClassVar[Grid]

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        self.shape, self.classes = shape, classes

    @staticmethod
    @abstractmethod
    def arranged(features: Tensor) -> Tensor:
        """Returns features of views, ``[b, ...]``, as the head takes them; channels come last."""

    @abstractmethod
    def starts(self) -> dict[str, InitialValue]:
        """Returns the initial values of its parameters, by name."""

    @abstractmethod
    def logits(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Returns logits of every sample by every head, ``[H, b, K]``.

        ``x`` is arranged and standardised.
        """

    @abstractmethod
    def floats(self) -> int:
        """Returns roughly how many numbers one head holds of one sample in training."""

    def held(self) -> int:
        """Returns how many numbers one head holds in training, apart from samples.

        They are its parameters, their gradients and AdamW's two moments.
        """
        return 4 * sum(math.prod(start.shape) for start in self.starts().values())

    def initial(self, *, seed: int, count: int) -> dict[str, Tensor]:
        """Returns keyed parameters of ``count`` heads that start alike, fp32 on the CPU."""
        key = make_keys(seed, 0, [0])
        out = {}
        for layer, (name, start) in enumerate(self.starts().items()):
            value = torch.full(start.shape, start.value)
            if start.std:
                value = start.std * _cut_normal(key, value.numel(), layer).view(start.shape)
            out[name] = value.expand(count, *start.shape).clone()
        return out


class LinearHead(Head):
    """A matrix and a bias on a vector of features."""

    # It is cheap: all inner folds judge.
    grid = Grid(
        (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4), (0.01, 0.1, 1.0, 10.0), judges=INNER_FOLDS
    )

    @staticmethod
    def arranged(features: Tensor) -> Tensor:
        return features.flatten(1)

    def starts(self) -> dict[str, InitialValue]:
        (C,) = self.shape
        return {
            "weight": InitialValue((self.classes, C), STD),
            "bias": InitialValue((self.classes,)),
        }

    def logits(self, parameters: Parameters, x: Tensor) -> Tensor:
        return torch.einsum("bc,hkc->hbk", x, parameters["weight"]) + parameters["bias"][:, None]

    def floats(self) -> int:
        return 4 * self.classes


# Heads add no positions to tokens: what an image network knows of order stays what it is.
class TokenHead(Head):
    """A kind of head that attends to all tokens.

    Attributes:
        heads: attention heads, A.
    """

    # V-JEPA 2's.
    grid = Grid((5e-3, 3e-3, 1e-3, 3e-4, 1e-4), (0.01, 0.1, 0.4, 0.8))

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.heads = attention_heads(shape[-1])

    @staticmethod
    def arranged(features: Tensor) -> Tensor:
        return features.flatten(1, -2)


class AttentiveHead(TokenHead):
    """One cross-attention with one learned query over all tokens, LayerNorm, one matrix.

    It is the multi-head attention of ``torch.nn.MultiheadAttention``, of a query that is not
    projected, over normalised tokens. With one query the key matrix can be applied to it instead
    of to every token, and the value matrix to the weighted mean: the same numbers for ``C`` times
    fewer operations, and the large products are shared by all heads.
    """

    def starts(self) -> dict[str, InitialValue]:
        C, K = self.shape[-1], self.classes
        return {
            "query": InitialValue((C,), STD),
            "key.weight": InitialValue((C, C), C**-0.5),
            "value.weight": InitialValue((C, C), C**-0.5),
            "value.bias": InitialValue((C,)),
            "out.weight": InitialValue((C, C), C**-0.5),
            "out.bias": InitialValue((C,)),
            "norm.weight": InitialValue((C,), value=1.0),
            "norm.bias": InitialValue((C,)),
            "weight": InitialValue((K, C), STD),
            "bias": InitialValue((K,)),
        }

    def logits(self, parameters: Parameters, x: Tensor) -> Tensor:
        p, A = parameters, self.heads
        x = F.layer_norm(x, x.shape[-1:])
        query = p["query"].unflatten(1, (A, -1))  # [H, A, d]
        key, value = (p[f"{name}.weight"].unflatten(1, (A, -1)) for name in ("key", "value"))
        # A bias of the keys would add the same to every token's score, and change nothing.
        projected = torch.einsum("had,hadc->hac", query, key) * query.shape[2] ** -0.5
        attention = (x @ projected.flatten(0, 1).mT).softmax(1)  # [b, N, H * A]
        mean = (attention.mT @ x).unflatten(1, (-1, A))  # [b, H, A, C]
        pooled = torch.einsum("bhac,hadc->hbad", mean, value).flatten(2)
        pooled = pooled + p["value.bias"][:, None]
        pooled = stacked_linear(pooled, p, "out")
        return stacked_linear(stacked_norm(pooled, p, "norm"), p, "")

    def floats(self) -> int:
        return 4 * self.heads * (self.shape[0] + self.shape[1])


class Attentive4Head(TokenHead):
    """V-JEPA 2's attentive classifier: three self-attention blocks, then a cross-attention block.

    Assran et al., "V-JEPA 2", 2025. Blocks are pre-norm, their MLPs four times as wide; the
    cross-attention has one learned query, no output projection, and an MLP too. Output projections
    of deeper blocks start smaller.
    """

    def starts(self) -> dict[str, InitialValue]:
        C, hidden = self.shape[-1], _MLP_RATIO * self.shape[-1]
        out = {"query": InitialValue((C,), STD)}

        def linear(name: str, rows: int, columns: int, std: float = STD) -> None:
            out[f"{name}.weight"] = InitialValue((rows, columns), std)
            out[f"{name}.bias"] = InitialValue((rows,))

        def norm(name: str) -> None:
            out[f"{name}.weight"] = InitialValue((C,), value=1.0)
            out[f"{name}.bias"] = InitialValue((C,))

        for number in range(_BLOCKS):
            smaller = STD * (2 * (number + 1)) ** -0.5
            norm(f"blocks.{number}.norm1")
            linear(f"blocks.{number}.qkv", 3 * C, C)
            linear(f"blocks.{number}.proj", C, C, smaller)
            norm(f"blocks.{number}.norm2")
            linear(f"blocks.{number}.fc1", hidden, C)
            linear(f"blocks.{number}.fc2", C, hidden, smaller)
        norm("cross.norm1")
        linear("cross.q", C, C)
        linear("cross.kv", 2 * C, C)
        norm("cross.norm2")
        linear("cross.fc1", hidden, C)
        # The release scales it by the number of the last block again, not by its own.
        linear("cross.fc2", C, hidden, STD * (2 * _BLOCKS) ** -0.5)
        out["weight"], out["bias"] = (
            InitialValue((self.classes, C), STD),
            InitialValue((self.classes,)),
        )
        return out

    def logits(self, parameters: Parameters, x: Tensor) -> Tensor:
        p, (b, N, C) = parameters, x.shape
        H = len(p["query"])
        # [H, b * N, C]: one matrix product per head serves all samples.
        x = x.reshape(1, b * N, C).expand(H, -1, -1)
        for number in range(_BLOCKS):
            name = f"blocks.{number}"
            qkv = stacked_linear(stacked_norm(x, p, f"{name}.norm1"), p, f"{name}.qkv")
            q, k, v = self._split(qkv, b, 3)
            x = x + stacked_linear(self._attend(q, k, v, H), p, f"{name}.proj")
            x = x + _mlp(x, p, name)
        query = p["query"][:, None]
        (q,) = self._split(stacked_linear(query, p, "cross.q").expand(-1, b, -1), b, 1)
        k, v = self._split(stacked_linear(stacked_norm(x, p, "cross.norm1"), p, "cross.kv"), b, 2)
        y = query + self._attend(q, k, v, H)
        y = y + _mlp(y, p, "cross")
        return stacked_linear(y, p, "")

    def floats(self) -> int:
        return 40 * self.shape[0] * self.shape[1]

    def _split(self, x: Tensor, b: int, parts: int) -> tuple[Tensor, ...]:
        """Splits ``[H, b * N, parts * C]`` into ``parts`` tensors ``[H * b, A, N, d]``."""
        x = x.unflatten(2, (parts, self.heads, -1)).unflatten(1, (b, -1)).flatten(0, 1)
        return x.permute(2, 0, 3, 1, 4).unbind(0)

    @staticmethod
    def _attend(q: Tensor, k: Tensor, v: Tensor, H: int) -> Tensor:
        """Returns the output of attention, ``[H, b * N, C]``."""
        out = F.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).flatten(2).unflatten(0, (H, -1)).flatten(1, 2)


def attention_heads(width: int) -> int:
    """Returns the most attention heads, up to 16, of equal width 32 or more; else 1."""
    fitting = [A for A in range(1, ATTENTION_HEADS + 1) if width % A == 0]
    return max([A for A in fitting if width // A >= _NARROWEST], default=1)


def stacked_linear(x: Tensor, parameters: Parameters, name: str) -> Tensor:
    """Applies each head's own matrix and bias, ``[H, m, C] -> [H, m, D]``."""
    prefix = f"{name}." if name else ""
    bias = parameters[f"{prefix}bias"][:, None]
    return torch.baddbmm(bias, x, parameters[f"{prefix}weight"].mT)


def stacked_norm(x: Tensor, parameters: Parameters, name: str) -> Tensor:
    """Applies each head's own LayerNorm, ``[H, m, C] -> [H, m, C]``."""
    weight, bias = (parameters[f"{name}.{part}"][:, None] for part in ("weight", "bias"))
    return F.layer_norm(x, x.shape[-1:]) * weight + bias


def _mlp(x: Tensor, parameters: Parameters, name: str) -> Tensor:
    hidden = F.gelu(
        stacked_linear(stacked_norm(x, parameters, f"{name}.norm2"), parameters, f"{name}.fc1")
    )
    return stacked_linear(hidden, parameters, f"{name}.fc2")


def _cut_normal(key: Tensor, count: int, layer: int) -> Tensor:
    """Returns standard normal numbers within two deviations, fp32 ``[count]``."""
    u = uniform(key, Purpose.HEAD, count, layer=layer, dtype=torch.float64)[0]
    edge = torch.special.ndtr(torch.tensor(2.0, dtype=torch.float64))
    return torch.special.ndtri(1 - edge + u * (2 * edge - 1)).float()
