"""Vision transformers of timm as teachers: SigLIP, CLIP, DINOv2 and others.

Legend: I images, n tokens of an image, p prefix tokens (cls and registers), D width, H heads.
"""

import contextlib
import importlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ivn.errors import one_line
from ivn.model.formats import check_plain
from ivn.model.layers import wide_dtype

from .protocol import (
    FeatureNetwork,
    Final,
    ImageNetwork,
    Tap,
    check_taps,
    per_clip,
    saliency,
)


class TimmNetwork(ImageNetwork, FeatureNetwork):
    """A transformer with ``forward_intermediates``, run by timm itself.

    Taps are the stream before the last norm, without prefix tokens. Pooled is the input of its
    classifier. Attention is that of its attention pool if it has one (SigLIP), else that of its
    cls token in the last block, averaged over heads (CLIP, DINOv2), else the length of the tokens
    after the last block.
    """

    sources = "a name such as vit_base_patch14_dinov2.lvd142m, hf-hub:ID or a folder"

    def __init__(self, model: Any, *, taps: tuple[int, ...]) -> None:
        super().__init__()
        embed: Any = getattr(model, "patch_embed", None)
        needed = ("forward_intermediates", "forward_head", "blocks", "num_prefix_tokens")
        if not all(hasattr(model, name) for name in needed) or not hasattr(embed, "grid_size"):
            raise ValueError(
                f"timm's {type(model).__name__} is no vision transformer with "
                "forward_intermediates: choose one such as vit_base_patch14_dinov2"
            )
        check_taps(taps, len(model.blocks), first=1)
        rows, columns = embed.grid_size
        if rows != columns:
            raise ValueError(f"the model has {rows} x {columns} tokens, expected a square")
        self.taps, self.grid, self.width = taps, rows, model.num_features
        self.image_size, patch = embed.img_size[0], embed.patch_size[0]
        if self.image_size != rows * patch:
            raise ValueError(
                f"image_size is {self.image_size}, expected a multiple of the teacher's patch size "
                f"{patch}: {patch * 16} for 16 x 16 tokens"
            )
        pixels = _timm("timm.data").resolve_model_data_config(model)
        self.mean, self.std = tuple(pixels["mean"]), tuple(pixels["std"])
        self.prefix = model.num_prefix_tokens
        self.cls_tokens = int(getattr(model, "cls_token", None) is not None)
        self.pool = _attention_pool(model)
        self.has_head = self.pool is not None
        # Sizes of weights do not show the number of heads; the architecture's name does.
        heads = getattr(getattr(model.blocks[-1], "attn", None), "num_heads", 0)
        self.facts = {"architecture": model.pretrained_cfg.get("architecture"), "heads": heads}
        self.model = model

    @classmethod
    def read(
        cls, source: str, *, weights: str, taps: tuple[int, ...], image_size: int | None
    ) -> "TimmNetwork":
        """Returns a network by timm's name, ``hf-hub:ID`` or folder, by default at its own size.

        timm resamples the positions of a checkpoint to ``image_size``.
        """
        timm = _timm("timm")
        name = f"local-dir:{source}" if Path(source).is_dir() else source
        size = {} if image_size is None else {"img_size": image_size}
        # timm copies whole numbers into its weights as if they were these.
        whole, pickled = (Path(source, name) for name in ("model.safetensors", "pytorch_model.bin"))
        if weights == "pretrained" and whole.is_file():
            check_plain(whole)
        try:
            # timm draws from the global generator: lend it a seed of its own.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)
                model = timm.create_model(
                    name, pretrained=weights == "pretrained", num_classes=0, **size
                )
        except (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise ValueError(f"timm cannot load {source!r}: {_reason(error)}") from None
        except (AssertionError, TypeError) as error:
            at = "" if image_size is None else f" for frames of {image_size} pixels"
            raise ValueError(
                f"timm cannot build {source!r}{at}, expected a vision transformer: {_reason(error)}"
            ) from None
        except SafetensorError as error:
            raise ValueError(f"the weights of {source!r} are damaged: {_reason(error)}") from None
        if weights == "pretrained" and pickled.is_file() and not whole.is_file():
            check_plain(pickled)  # after timm, whose message names what it does not read
        return cls(model.eval(), taps=taps)

    def features(
        self, images: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        empty = images.new_empty(len(images), 0)
        to_end = pooled or attention
        if tap is None and not to_end:
            return empty, empty
        depth = len(self.model.blocks)
        wanted = sorted({*(() if tap is None else self.taps), *((depth,) if to_end else ())})
        with self._watched(attention) as watched:
            outputs = self.model.forward_intermediates(
                images,
                indices=[number - 1 for number in wanted],
                output_fmt="NLC",
                intermediates_only=not to_end,
                stop_early=not to_end,
            )
        last, layers = outputs if to_end else (empty, outputs)
        if tap is not None:
            for k, number in enumerate(self.taps):
                tap(k, layers[wanted.index(number)])
        vector = self.model.forward_head(last, pre_logits=True) if pooled else empty
        if not attention:
            return vector, empty
        if self.pool is not None:
            return vector, self._pool_attention(last)
        return vector, watched[0] if watched else saliency(layers[-1])

    def final(self, clips: Tensor, *, pooled: bool) -> Final:
        hidden = self.model.forward_features(clips.flatten(0, 1))
        empty = hidden.new_empty(len(hidden), 0)
        vector = self.model.forward_head(hidden, pre_logits=True) if pooled else empty
        images = Final(hidden[:, self.prefix :], hidden[:, : self.cls_tokens], vector)
        return per_clip(images, len(clips))

    def _pool_attention(self, hidden: Tensor) -> Tensor:
        """Returns attention of the pool's query to each token, averaged over heads, ``[I, n]``."""
        pool: Any = self.pool
        tokens = hidden if self.model.pool_include_prefix else hidden[:, self.prefix :]
        if pool.pos_embed is not None:
            tokens = tokens + pool.pos_embed.to(tokens.dtype)
        key, _ = pool.kv(tokens).chunk(2, dim=-1)
        q, k = (x.unflatten(-1, (pool.num_heads, -1)) for x in (pool.q(pool.latent), key))
        scores = torch.einsum("lhd,inhd->ihln", pool.q_norm(q)[0] * pool.scale, pool.k_norm(k))
        weights = scores.softmax(-1, dtype=wide_dtype(scores.dtype)).mean((1, 2))
        return weights[:, -(self.grid**2) :]

    @contextlib.contextmanager
    def _watched(self, attention: bool) -> Iterator[list[Tensor]]:
        """Collects the cls token's attention in the last block, ``[I, n]``, if it is wanted."""
        watched: list[Tensor] = []
        attend: Any = getattr(self.model.blocks[-1], "attn", None)
        drop = getattr(attend, "attn_drop", None)
        if not attention or self.pool is not None or not self.cls_tokens or drop is None:
            yield watched
            return

        def keep(_: Any, inputs: tuple[Tensor, ...]) -> None:
            rows = inputs[0][:, :, 0, self.prefix :]  # [I, H, n]
            watched.append(rows.to(wide_dtype(rows.dtype)).mean(1))

        # Fused attention gives no weights: the last block alone runs without it.
        fused, attend.fused_attn = attend.fused_attn, False
        handle = drop.register_forward_pre_hook(keep)
        try:
            yield watched
        finally:
            attend.fused_attn = fused
            handle.remove()


def _attention_pool(model: Any) -> Any:
    """Returns the model's pool with a learnt query, or None."""
    kind = _timm("timm.layers").AttentionPoolLatent
    pool = getattr(model, "attn_pool", None)
    return pool if isinstance(pool, kind) else None


def _timm(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'this network needs timm ({error}): pip install "ivn[timm]"') from None


def _reason(error: Exception) -> str:
    return one_line(error)[:300]
