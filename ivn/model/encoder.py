"""The video encoder: a vision transformer over the patches that are kept.

Legend: B batch, T frames, N = T * rows * columns tokens, K kept tokens, C width, P pooled width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from ivn.keys import Purpose
from ivn.ops import add_positions, check_index, check_range
from ivn.ops.norm import rms_norm
from ivn.ops.random import uniform

from .block import Block
from .layers import materialise, part_generator, wide_dtype
from .packed import Index, Packed
from .patch import PatchEmbed, PlainPatchEmbed, end_to_end, of_traced_size, patch_grid
from .pool import AttentionPool
from .positions import Grid, GridPositions, reset_table, resize_table

CLS_TOKENS = 4


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder.

    Attributes:
        width: features of a token.
        depth: number of transformer blocks.
        heads: number of attention heads, which share the width.
        hidden: features inside a block's MLP.
        image_height: height of the frames that the position table is for, in pixels.
        image_width: width of the frames that the position table is for, in pixels.
        num_frames: number of frames that the position table is for.
        patch_size: side of a patch, in pixels.
        pool_heads: number of attention heads in the pooling head.
        pool_width: features of the pooled vector.
        drop_path: share of samples that skip the last block; earlier blocks have a share that grows
            linearly from 0.
        layer_scale: initial factor on each branch.
        residual_dtype: dtype of the stream between blocks; "compute" is the dtype of the branches.
        family: "internvideo_next", or "internvideo2" for its frozen predecessor, which has one cls
            token instead of four, and no norms around the embedding of the patches.
        image_table: whether an InternVideo2 has its own positions for clips of one frame (1B of its
            stage two); otherwise they are the mean of its table over time.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    image_height: int = 224
    image_width: int = 224
    num_frames: int = 16
    patch_size: int = 14
    pool_heads: int = 16
    pool_width: int = 768
    drop_path: float = 0.0
    layer_scale: float = 1e-5
    residual_dtype: Literal["compute", "float32"] = "compute"
    family: Literal["internvideo_next", "internvideo2"] = "internvideo_next"
    image_table: bool = False

    def __post_init__(self) -> None:
        sizes = ("width", "heads", "hidden", "image_height", "image_width", "num_frames")
        for name in (*sizes, "patch_size", "pool_heads", "pool_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.depth < 0:
            raise ValueError(f"depth is {self.depth}, expected at least 0")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path is {self.drop_path}, expected at least 0 and below 1")
        if self.image_table and self.family != "internvideo2":
            raise ValueError(f"image_table is true, expected false for family {self.family!r}")

    @property
    def cls_tokens(self) -> int:
        """The number of cls tokens in front of the tokens of a clip."""
        return CLS_TOKENS if self.family == "internvideo_next" else 1

    @property
    def grid(self) -> Grid:
        """The frames, rows and columns of the position table."""
        p = self.patch_size
        return self.num_frames, self.image_height // p, self.image_width // p


class Encoder(nn.Module):
    """InternVideo-Next's encoder.

    It computes in ``compute_dtype``, by default that of its parameters, which do not change.
    There is no norm after the last block.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        for name in ("heads", "pool_heads"):
            heads = getattr(config, name)
            if config.width % heads:
                raise ValueError(
                    f"encoder.{name} is {heads}, but width {config.width} does not divide into "
                    f"{heads} heads"
                )
        self.config = config
        self.compute_dtype: torch.dtype | None = None
        C, N = config.width, config.grid[0] * config.grid[1] * config.grid[2]
        norms = config.family == "internvideo_next"
        embed: type[PatchEmbed | PlainPatchEmbed] = PatchEmbed if norms else PlainPatchEmbed
        self.patch_embed = embed(config.patch_size, C)
        self.cls_token = nn.Parameter(torch.empty(1, config.cls_tokens, C))
        self.pos_embed = nn.Parameter(torch.empty(1, config.cls_tokens + N, C))
        if config.image_table:
            places = config.grid[1] * config.grid[2]
            self.img_pos_embed = nn.Parameter(torch.empty(1, config.cls_tokens + places, C))
        self.blocks = nn.ModuleList(
            Block(C, config.heads, config.hidden, config.layer_scale) for _ in range(config.depth)
        )
        self.clip_projector = AttentionPool(C, config.pool_heads, config.pool_width)
        self._positions = GridPositions(config.grid)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draws the encoder's own parameters, and smaller output projections for deeper blocks."""
        nn.init.trunc_normal_(self.cls_token, std=0.02, generator=generator)
        reset_table(self.pos_embed, self.config.grid)
        if self.config.image_table:
            reset_table(self.img_pos_embed, (1, *self.config.grid[1:]))
        with torch.no_grad():
            for i in range(len(self.blocks)):
                for name in ("attn.proj", "mlp.fc2"):
                    self.get_parameter(f"blocks.{i}.{name}.weight").div_((2 * (i + 1)) ** 0.5)

    def forward(
        self,
        video: Tensor,
        keep: Tensor | None = None,
        layers: Sequence[int] | None = None,
        cls: bool = False,
        *,
        keys: Tensor | None = None,
    ) -> Any:
        """Returns the tokens of clips.

        Args:
            video: ImageNet-normalised float ``[B, 3, T, H, W]``, or uint8 ``[B, T, H, W, 3]``.
                Any T, H and W that the patch size divides.
            keep: tokens to encode, ``[B, K]`` int64, ascending; all by default.
            layers: blocks after which to take the tokens, counted from 0, or back from -1.
            cls: whether to return the cls tokens, ``[B, 4, C]``, too, as the second of a pair.
            keys: random keys, ``[B, 4]``, needed in training if ``drop_path`` is above 0.

        Returns:
            ``[B, N, C]``, or ``[B, K, C]`` with ``keep``; a pair with ``cls``; a list of these with
            ``layers``.
        """
        depth = len(self.blocks)
        if layers is not None and any(not -depth <= layer < depth for layer in layers):
            raise ValueError(f"layers is {list(layers)}, expected numbers in [-{depth}, {depth})")
        taps = () if layers is None else tuple(layer % depth for layer in layers)
        hidden, tapped = self.hidden(video, keep, taps=taps, keys=keys)

        c = self.config.cls_tokens

        def parts(x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            tokens = x[:, c:]
            return (tokens, x[:, :c]) if cls else tokens

        return parts(hidden) if layers is None else [parts(tapped[tap]) for tap in taps]

    def pool(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        """Returns the attention-pooled vector of each clip, ``[B, P]``; see :meth:`forward`."""
        return self.pool_hidden(self.hidden(video, keep)[0])

    def pool_hidden(self, hidden: Tensor) -> Tensor:
        """Returns the pooled vectors ``[B, P]`` of the result of :meth:`hidden`."""
        return self.clip_projector(hidden.to(self.dtype))

    def hidden(
        self,
        video: Tensor,
        keep: Index | None = None,
        *,
        taps: Sequence[int] = (),
        keys: Tensor | None = None,
        purpose: Purpose = Purpose.DROP_PATH,
        view: int = 0,
        stop: int = 0,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Returns the stream after the last block, ``[B, 4 + K, C]``, and after ``taps``.

        If ``stop`` is above 0, only that many blocks run.

        ``purpose`` and ``view`` tell passes over one clip apart, which drop different branches. If
        ``keep`` is packed, clips lie end to end, each after its cls tokens: ``[1, 4 * B + S, C]``.
        """
        if torch.jit.is_tracing():
            video = of_traced_size(video)
        B, grid = video.shape[0], patch_grid(video, self.config.patch_size)
        c = self.config.cls_tokens
        index = self._index(video, grid) if keep is None else self._checked(keep, B, grid)
        positions = self._table(grid)
        wide = self.config.residual_dtype == "float32"
        stream = wide_dtype(self.dtype) if wide else self.dtype
        drop = self._drop_factors(B, keys, purpose, view)
        lengths: tuple[int, ...] = ()
        if isinstance(index, Packed):
            lengths = tuple(c + length for length in index.lengths)
            rows = index.rows(grid[0] * grid[1] * grid[2])
            tokens = self.patch_embed(end_to_end(video), rows, self.dtype)
            slots = index.rows(len(positions)) + c
            x = add_positions(tokens, slots, positions, positions[:0], clips=B, dtype=stream)
            cls = (self.cls_token + positions[:c]).to(stream)
            x = index.behind(cls.expand(B, -1, -1), x)
            repeats = torch.tensor(lengths).to(drop.device, non_blocking=True)
            drop = drop.repeat_interleave(repeats, 0, output_size=x.shape[1]).transpose(0, 1)
        else:
            tokens = self.patch_embed(video, index, self.dtype)
            cls = self.cls_token[0]
            x = add_positions(tokens, index + c, positions, cls, dtype=stream)
        drop = drop.expand(-1, x.shape[1], -1, -1)
        # Each block ends with the norm that the next begins with; the last norm is not used.
        norms = [block.get_parameter("norm1.weight") for block in self.blocks]
        normed = rms_norm(x, norms[0], dtype=self.dtype) if norms else x
        tapped = {}
        for i, block in enumerate(self.blocks[:stop] if stop else self.blocks):
            x, normed = block(x, normed, drop[:, :, i], norms[min(i + 1, len(norms) - 1)], lengths)
            if i in taps:
                tapped[i] = x
        return x, tapped

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the encoder computes."""
        return self.pos_embed.dtype if self.compute_dtype is None else self.compute_dtype

    def _table(self, grid: Grid) -> Tensor:
        """Returns the positions of the cls tokens and tokens of a clip, ``[4 + N, C]``."""
        own, c = self.config.grid, self.config.cls_tokens
        if grid[0] > 1 or self.config.family == "internvideo_next":
            return self._positions(self.pos_embed, grid)
        # InternVideo2 treats a single frame as an image, not as a very short clip.
        table: Tensor
        if self.config.image_table:
            table = self.img_pos_embed
        else:
            mean = self.pos_embed[:, c:].unflatten(1, (own[0], -1)).mean(1)
            table = torch.cat([self.pos_embed[:, :c], mean], dim=1)
        return resize_table(table, (1, *own[1:]), grid)

    def _drop_factors(self, B: int, keys: Tensor | None, purpose: Purpose, view: int) -> Tensor:
        """Draws stochastic depth (Huang et al. 2016), ``[B, 1, depth, 2]``: 0 or 1 / (1 - rate)."""
        depth, dtype = len(self.blocks), wide_dtype(self.dtype)
        if not self.training or self.config.drop_path == 0:
            return torch.ones(B, 1, depth, 2, dtype=dtype, device=self.pos_embed.device)
        if keys is None:
            raise ValueError("drop_path needs keys in training: pass keys=, or call eval() first")
        u = uniform(keys, purpose, 2 * depth, layer=view).view(B, 1, depth, 2)
        rate = torch.linspace(0, self.config.drop_path, depth, device=u.device, dtype=dtype)
        return (u >= rate[:, None]) / (1 - rate[:, None])

    @staticmethod
    def _index(video: Tensor, grid: Grid) -> Tensor:
        every = torch.arange(grid[0] * grid[1] * grid[2], device=video.device)
        return every.expand(video.shape[0], -1)

    @staticmethod
    def _checked(keep: Index, B: int, grid: Grid) -> Index:
        index = keep.index if isinstance(keep, Packed) else keep
        shape = (sum(keep.lengths),) if isinstance(keep, Packed) else (B, *index.shape[1:2])
        rows = len(keep.lengths) if isinstance(keep, Packed) else B
        if index.shape != shape or index.dtype != torch.int64 or rows != B:
            raise ValueError(
                f"keep is {index.dtype} {list(index.shape)}, expected int64 [{B}, K] of tokens of "
                f"the grid {grid[0]} x {grid[1]} x {grid[2]}, or as many packed clips"
            )
        N = grid[0] * grid[1] * grid[2]
        if isinstance(keep, Packed):
            check_range("encoder", index, N, "keep")
        else:
            check_index("encoder", index, N, "keep")
        return keep


def build_encoder(config: EncoderConfig, *, seed: int) -> Encoder:
    """Builds an encoder with the random weights that every model of this seed starts with."""
    with torch.device("meta"):
        encoder = Encoder(config)
    materialise(encoder, part_generator(seed, "encoder"))
    return encoder
