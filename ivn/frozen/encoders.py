"""Frozen encoders of any kind behind one function, from clips to features.

Legend: B clips, T frames, S side in pixels, t time slots, n tokens of a slot, N = t * n, C width,
K cls tokens, P width of a pooling head.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from ivn.data.crop import centre_clip
from ivn.errors import DataError
from ivn.frozen.protocol import FeatureNetwork, ImageNetwork
from ivn.frozen.teacher import Teacher
from ivn.model.encoder import Encoder
from ivn.model.layers import wide_dtype

Pool = Literal["none", "frames", "mean", "attn", "cls"]

_TOKENS_AT_ONCE = 8192
CELLS = 8  # cells along a side, for the statistics of raw pixels
_PIXELS_AT_ONCE = 2**24
_IMAGES_AT_ONCE = 256


class Frozen(ABC):
    """A frozen encoder.

    Attributes:
        name: name of the encoder, as the user gave it.
        spec: frames and size of the clips that it takes.
        slots: time slots of its tokens, t: T, or T over the length of its tubes.
        width: features of a token, C.
        pools: the pools that :meth:`features` offers.
        layer: number of the block, counted from 0, after which tokens are taken; None if they are
            taken after the whole encoder.
    """

    layer: int | None = None

    def __init__(
        self,
        name: str,
        spec: ClipSpec,
        *,
        slots: int,
        width: int,
        pools: tuple[Pool, ...],
        clips_at_once: int,
    ) -> None:
        self.name, self.spec, self.slots, self.width = name, spec, slots, width
        self.pools = pools
        self._clips_at_once = max(1, clips_at_once)

    @torch.no_grad()
    def features(self, clips: Tensor, pool: Pool) -> Tensor:
        """Returns features of clips: fp32, on the CPU, without gradients.

        A few clips are computed at a time, to bound memory; their number changes no feature by more
        than rounding.

        Args:
            clips: uint8 ``[B, T, S, S, 3]``, on any device.
            pool: "none" for tokens ``[B, t, n, C]``, "frames" for their mean over space
                ``[B, t, C]``, "mean" for their mean ``[B, C]``, "attn" for the encoder's own
                pooling head ``[B, P]`` (of a network of images: its mean over frames), "cls" for
                cls tokens ``[B, K, C]``.

        Raises:
            ValueError: the clips are not of this size, or the encoder has no such pool.
        """
        if pool not in self.pools:
            raise ValueError(
                f"{self.name} has no features {pool!r}, expected one of {', '.join(self.pools)}"
            )
        T, S = self.spec.frames, self.spec.size
        if clips.dtype != torch.uint8 or clips.shape[1:] != (T, S, S, 3) or not len(clips):
            raise ValueError(
                f"clips are {clips.dtype} {list(clips.shape)}, expected uint8 "
                f"[B, {T}, {S}, {S}, 3]: {self.name} takes {T} frames of {S} x {S} pixels"
            )
        parts = clips.split(self._clips_at_once)
        return torch.cat([self._features(part, pool).float().cpu() for part in parts])

    @cached_property
    def identity(self) -> str:
        """SHA-256 of class, clip, sizes and weights; encoders of one identity are equal."""
        digest = hashlib.sha256()
        sizes = {"class": type(self).__name__, "spec": self._clip()} | self._sizes()
        digest.update(json.dumps(sizes, sort_keys=True).encode())
        for key, value in sorted(self._state().items()):
            digest.update(f"{key} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _clip(self) -> dict[str, Any]:
        """Frames, size and normalisation of the clips, for the identity."""
        return asdict(self.spec) | {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}

    @property
    def dtype(self) -> torch.dtype:
        """Dtype in which it computes: that of its weights, fp64 without weights."""
        numbers = (value.dtype for value in self._state().values() if value.is_floating_point())
        return next(numbers, torch.float64)

    @abstractmethod
    def _features(self, clips: Tensor, pool: Pool) -> Tensor:
        """Returns :meth:`features` of as many clips as fit, in any dtype and on any device."""

    @abstractmethod
    def _sizes(self) -> dict[str, Any]:
        """Returns facts of the network that its weights do not show, as plain values."""

    @abstractmethod
    def _state(self) -> Mapping[str, Tensor]:
        """Returns its weights."""


def check_finite(frozen: Frozen, features: Tensor, shown: str) -> None:
    """Checks that features are finite.

    Args:
        frozen: the encoder.
        features: its features, of any shape.
        shown: name of the clips, for the message.

    Raises:
        DataError: some features are NaN or infinite.
    """
    if not features.isfinite().all():
        raise DataError(
            f"{frozen.name}: its features of {shown} are not finite; its weights may be damaged, "
            "or need a wider dtype"
        )


def nearest_pool(frozen: Frozen, pool: Pool) -> Pool:
    """Returns ``pool`` if the encoder has it, else "mean", which every encoder has."""
    return pool if pool in frozen.pools else "mean"


def pooled_tokens(tokens: Tensor, slots: int, pool: Pool) -> Tensor:
    """Pools tokens ``[B, N, C]``, time-major, by "none", "frames" or "mean", in at least fp32."""
    if pool == "none":
        return tokens.unflatten(1, (slots, -1))
    wide = tokens.to(wide_dtype(tokens.dtype))
    return wide.mean(1) if pool == "mean" else wide.unflatten(1, (slots, -1)).mean(2)


class FrozenEncoder(Frozen):
    """An encoder of ivn. It has every pool; "cls" are its cls tokens, "attn" its pooling head.

    Args:
        name, spec: see :class:`Frozen`.
        encoder: the encoder.
        layer: number of the block, from 0 or back from -1, after which tokens are taken; later
            blocks do not run, and only the last block has "attn".
    """

    def __init__(self, name: str, encoder: Encoder, spec: ClipSpec, *, layer: int = -1) -> None:
        depth = encoder.config.depth
        if layer != -1 and not -depth <= layer < depth:
            raise ValueError(
                f"{name}: layer {layer}, expected a block of its {depth}: 0 to {depth - 1}, or "
                f"{-depth} to -1, counted from the last"
            )
        patch = encoder.config.patch_size
        if spec.size % patch:
            raise ValueError(
                f"{name}: frames of {spec.size} pixels, expected a multiple of its patch size "
                f"{patch}"
            )
        tokens = spec.frames * (spec.size // patch) ** 2
        self.layer = layer % depth if depth else None
        last = self.layer in (None, depth - 1)
        super().__init__(
            name,
            spec,
            slots=spec.frames,
            width=encoder.config.width,
            pools=("none", "frames", "mean", *(("attn",) if last else ()), "cls"),
            clips_at_once=_TOKENS_AT_ONCE // tokens,
        )
        self.encoder = encoder.eval().requires_grad_(False)
        self._stop = 0 if last else layer % depth + 1

    def _features(self, clips: Tensor, pool: Pool) -> Tensor:
        clips = clips.to(self.encoder.pos_embed.device)
        hidden, _ = self.encoder.hidden(clips, stop=self._stop)
        if pool == "attn":
            return self.encoder.pool_hidden(hidden)
        c = self.encoder.config.cls_tokens
        if pool == "cls":
            return hidden[:, :c]
        return pooled_tokens(hidden[:, c:], self.slots, pool)

    def _sizes(self) -> dict[str, Any]:
        # The last block gives the features of the whole encoder, by whichever number it is chosen.
        chosen = {"layer": self.layer} if self._stop else {}
        return asdict(self.encoder.config) | chosen

    def _state(self) -> Mapping[str, Tensor]:
        return self.encoder.state_dict()


class FrozenNetwork(Frozen):
    """A network of another library; its features are taken after its own last norm.

    A network of images computes every frame by itself: a slot is a frame, "cls" are the frames' cls
    tokens in time order, "attn" is the mean over frames of its attention pool.
    """

    def __init__(self, name: str, network: FeatureNetwork, spec: ClipSpec) -> None:
        if spec.frames % network.frames_per_slot:
            raise ValueError(
                f"{name}: clips of {spec.frames} frames, expected a multiple of "
                f"{network.frames_per_slot}"
            )
        slots = spec.frames // network.frames_per_slot
        super().__init__(
            name,
            spec,
            slots=slots,
            width=network.width,
            pools=(
                "none",
                "frames",
                "mean",
                *(("attn",) if network.has_head else ()),
                *(("cls",) if network.cls_tokens else ()),
            ),
            clips_at_once=_TOKENS_AT_ONCE // (slots * network.grid**2),
        )
        self.network = network.eval().requires_grad_(False)

    def _features(self, clips: Tensor, pool: Pool) -> Tensor:
        network = self.network
        device = next(network.parameters()).device
        mean, std = (
            torch.tensor(x, device=device)[:, None, None] for x in (network.mean, network.std)
        )
        pixels = clips.to(device).permute(0, 1, 4, 2, 3).to(wide_dtype(network.dtype)) / 255
        final = network.final(((pixels - mean) / std).to(network.dtype), pooled=pool == "attn")
        if pool == "attn":
            return final.pooled
        return final.cls if pool == "cls" else pooled_tokens(final.tokens, self.slots, pool)

    def _clip(self) -> dict[str, Any]:
        return super()._clip() | {"mean": self.network.mean, "std": self.network.std}

    def _sizes(self) -> dict[str, Any]:
        network = self.network
        pixels = {"mean": network.mean, "std": network.std}
        return {"network": type(network).__name__} | pixels | dict(network.facts)

    def _state(self) -> Mapping[str, Tensor]:
        return self.network.state_dict()


class FrozenTeacher(Frozen):
    """The pooled vectors of an image teacher, one per frame, each frame by itself.

    Args:
        name: see :class:`Frozen`.
        teacher: a teacher of images; frames are resized to its own size.
        spec: the clips that it takes.
        frames: number of a clip's first frames that the teacher computes; a slot is one of them.
    """

    def __init__(self, name: str, teacher: Teacher, spec: ClipSpec, *, frames: int) -> None:
        if not isinstance(teacher.network, ImageNetwork):
            raise ValueError(f"{name}: the teacher takes whole clips, expected one of images")
        if not 1 <= frames <= spec.frames:
            raise ValueError(f"{name}: {frames} frames, expected 1 to the clip's {spec.frames}")
        super().__init__(
            name,
            spec,
            slots=frames,
            width=teacher.pooled_width,
            pools=("frames", "mean"),
            clips_at_once=_IMAGES_AT_ONCE // frames,
        )
        self.teacher = teacher

    def _features(self, clips: Tensor, pool: Pool) -> Tensor:
        device = next(self.teacher.network.parameters()).device
        frames = clips[:, : self.slots].to(device).flatten(0, 1)
        # Clips of a moving camera share frames: each is computed once.
        images, index = torch.unique(frames, dim=0, return_inverse=True)
        video = centre_clip(images, self.teacher.image_size)[:, None]
        pooled = self.teacher(video, layers=False, attention=False).pooled[:, 0]
        return pooled_tokens(pooled[index].unflatten(0, (len(clips), -1)), self.slots, pool)

    def _sizes(self) -> dict[str, Any]:
        network = self.teacher.network
        pixels = {"side": network.image_size, "mean": network.mean, "std": network.std}
        return {"network": type(network).__name__, "frames": self.slots} | pixels

    def _state(self) -> Mapping[str, Tensor]:
        return self.teacher.network.state_dict()


class FrozenPixels(Frozen):
    """Statistics of raw pixels, a lower bound for every encoder: nothing is learnt.

    The tokens are ``CELLS x CELLS`` cells of a frame. The features of a cell, over its pixels in
    [0, 1], are mean and standard deviation of red, green and blue, then those of the change since
    the frame before (zero in the first), C = 12.
    """

    def __init__(self, name: str, spec: ClipSpec) -> None:
        if spec.size < CELLS:
            raise ValueError(
                f"{name}: frames of {spec.size} pixels, expected at least {CELLS} for "
                f"{CELLS} x {CELLS} cells"
            )
        super().__init__(
            name,
            spec,
            slots=spec.frames,
            width=12,
            pools=("none", "frames", "mean"),
            clips_at_once=_PIXELS_AT_ONCE // (spec.frames * spec.size**2),
        )

    def _features(self, clips: Tensor, pool: Pool) -> Tensor:
        B, T = clips.shape[:2]
        # fp64: the variance of a nearly flat cell is a small difference of large numbers.
        pixels = clips.permute(0, 1, 4, 2, 3).double() / 255
        change = torch.cat([torch.zeros_like(pixels[:, :1]), pixels.diff(dim=1)], 1)
        both = torch.cat([pixels, change], 2).flatten(0, 1)  # [B * T, 6, S, S]
        mean = F.adaptive_avg_pool2d(both, CELLS)
        square = F.adaptive_avg_pool2d(both.square(), CELLS)
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        cells = torch.stack([mean, deviation], 1).unflatten(2, (2, 3)).transpose(1, 2)
        tokens = cells.flatten(1, 3).flatten(2).mT.unflatten(0, (B, T)).flatten(1, 2)
        return pooled_tokens(tokens, self.slots, pool)

    def _sizes(self) -> dict[str, Any]:
        return {"cells": CELLS}

    def _state(self) -> Mapping[str, Tensor]:
        return {}
