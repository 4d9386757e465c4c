"""The predictor of masked tokens: the last layers of a text encoder, ModernBERT.

The layers of a plain ViT (``vit.py``) may take their place.

Legend: B batch, N tokens of the clip, V visible tokens, C encoder width, W predictor width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ivn.ops import place_tokens
from ivn.ops.attention import attention, local_attention, rotate
from ivn.toml import WITHOUT_KIND, decode

from .encoder import CLS_TOKENS
from .hub import check_published
from .layers import LayerNorm, Linear, ProjectionHead
from .packed import Index, Packed
from .positions import Grid, GridPositions, reset_table
from .state_dict import check_weight
from .vit import ViTLayer, ViTPredictorConfig


@dataclass(frozen=True)
class PredictorConfig:
    """A predictor made of a text encoder's layers; the defaults are ModernBERT-large's last five.

    Attributes:
        width: features of a token.
        heads: number of attention heads.
        hidden: features inside a gated MLP.
        layers: number of the text encoder's last layers that are taken (Table 1b: 2, 5 or 8).
        total_layers: number of layers of the text encoder; the place of a layer among them decides
            whether it sees the whole sequence.
        global_every: every layer whose number this divides sees the whole sequence, the others a
            window.
        local_window: number of tokens to either side that a layer with a window sees.
        global_theta: base of the rotary positions in layers that see the whole sequence.
        local_theta: base of the rotary positions in layers with a window.
        init: "modernbert" takes the weights of ``source``, "scratch" draws them (Table 1b: no
            initialisation; Table 1a: without text initialisation).
        source: folder or hub id of the text encoder.
    """

    width: int = 1024
    heads: int = 16
    hidden: int = 2624
    layers: int = 5
    total_layers: int = 28
    global_every: int = 3
    local_window: int = 64
    global_theta: float = 160000.0
    local_theta: float = 10000.0
    init: Literal["modernbert", "scratch"] = "modernbert"
    source: str = "answerdotai/ModernBERT-large"
    kind: Literal["modernbert"] = field(default="modernbert", kw_only=True, metadata=WITHOUT_KIND)

    def __post_init__(self) -> None:
        sizes = ("width", "heads", "hidden", "layers", "local_window")
        for name in (*sizes, "total_layers", "global_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        for name in ("global_theta", "local_theta"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected above 0")
        if self.layers > self.total_layers:
            raise ValueError(f"layers is {self.layers}, expected 1 to {self.total_layers}")

    @property
    def layer_ids(self) -> range:
        """The places of the layers in the text encoder, from 0."""
        return range(self.total_layers - self.layers, self.total_layers)


AnyPredictorConfig = PredictorConfig | ViTPredictorConfig


class PredictorLayer(nn.Module):
    """One ModernBERT layer: pre-norm rotary attention and a gated MLP, without biases."""

    def __init__(self, config: PredictorConfig, layer_id: int) -> None:
        super().__init__()
        W = config.width
        # The text encoder's first layer follows a norm of its embeddings and has none itself.
        self.attn_norm = LayerNorm(W, eps=1e-5, bias=False) if layer_id else nn.Identity()
        self.attn = nn.ModuleDict({"Wqkv": Linear(W, 3 * W, bias=False)})
        self.attn["Wo"] = Linear(W, W, bias=False)
        self.mlp_norm = LayerNorm(W, eps=1e-5, bias=False)
        self.mlp = nn.ModuleDict({"Wi": Linear(W, 2 * config.hidden, bias=False)})
        self.mlp["Wo"] = Linear(config.hidden, W, bias=False)
        self.heads = config.heads
        self.window = 0 if layer_id % config.global_every == 0 else config.local_window
        self.theta = config.local_theta if self.window else config.global_theta
        self.out_std = 0.02 / (2 * config.total_layers) ** 0.5

    def reset_projections(self, generator: Generator | None) -> None:
        """Draws ModernBERT's start: normals cut at two deviations; outputs shrink with the depth.

        The cut makes the deviation 0.88 of the nominal one: 0.0176 for 0.02.
        """
        for module in (self.attn, self.mlp):
            for name, linear in module.named_children():
                std = self.out_std if name == "Wo" else 0.02
                weight = linear.get_parameter("weight")
                nn.init.trunc_normal_(weight, 0, std, -2 * std, 2 * std, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``[B, N, W]`` for ``[B, N, W]``, without a norm after it."""
        x = x + self._attend(self.attn_norm(x))
        value, gate = self.mlp["Wi"](self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.mlp["Wo"](F.gelu(value) * gate)

    def _attend(self, x: Tensor) -> Tensor:
        qkv = self.attn["Wqkv"](x).unflatten(-1, (3 * self.heads, -1))
        query_key, value = qkv.split((2 * self.heads, self.heads), dim=2)
        query, key = rotate(query_key, theta=self.theta).chunk(2, dim=2)
        if self.window:
            mixed = local_attention(query, key, value, window=self.window)
        else:
            mixed = attention(query, key, value)
        return self.attn["Wo"](mixed.flatten(2))


class Predictor(nn.Module):
    """Predicts every token of a clip from the visible ones.

    A mask token replaces each token that is not visible; positions tell them apart. All tokens and
    cls tokens then attend to each other. A ViT ends with a LayerNorm, the text encoder's layers
    without one.
    """

    def __init__(self, config: AnyPredictorConfig, encoder_width: int, grid: Grid) -> None:
        super().__init__()
        if config.width % (2 * config.heads):
            raise ValueError(
                f"predictor.heads is {config.heads}, but width {config.width} does not divide into "
                f"{config.heads} heads of even size"
            )
        self.config = config
        self.grid = grid
        N = grid[0] * grid[1] * grid[2]
        self.mask_token = nn.Parameter(torch.empty(1, 1, encoder_width))
        self.pos_embed = nn.Parameter(torch.empty(1, CLS_TOKENS + N, encoder_width))
        self.proj = ProjectionHead(encoder_width, config.width)
        layers: list[nn.Module]
        if isinstance(config, PredictorConfig):
            layers = [PredictorLayer(config, i) for i in config.layer_ids]
            self.norm: nn.Module = nn.Identity()
        else:
            layers = [ViTLayer(config, i) for i in range(config.depth)]
            self.norm = LayerNorm(config.width, eps=1e-6)
        self.layers = nn.ModuleList(layers)
        self._positions = GridPositions(grid)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.trunc_normal_(self.mask_token, std=0.02, generator=generator)
        reset_table(self.pos_embed, self.grid)
        for layer in self.layers:
            assert isinstance(layer, PredictorLayer | ViTLayer)
            layer.reset_projections(generator)

    def forward(self, hidden: Tensor, visible_index: Index, grid: Grid) -> Tensor:
        """Returns predictions for all tokens.

        Args:
            hidden: the encoder's cls and visible tokens, ``[B, 4 + V, C]``, or packed.
            visible_index: ``[B, V]`` int64 into the grid, or packed.
            grid: frames, rows and columns of the clip's tokens, ``N`` in all.

        Returns:
            ``[B, N, W]`` in the dtype of ``hidden``; without cls tokens.
        """
        positions = self._positions(self.pos_embed, grid)
        N = len(positions) - CLS_TOKENS
        if isinstance(visible_index, Packed):
            slots, clips = visible_index.slots(N, CLS_TOKENS), len(visible_index.lengths)
        else:
            heads = torch.arange(CLS_TOKENS, device=hidden.device).expand(hidden.shape[0], -1)
            slots, clips = torch.cat([heads, visible_index + CLS_TOKENS], dim=1), 1
        fill = self.mask_token[0, 0]
        tokens = place_tokens(hidden, slots, fill, positions, clips=clips)
        x = self.proj(tokens.view(-1, len(positions), hidden.shape[2]))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x[:, CLS_TOKENS:])


def predictor_config(card: Mapping[str, Any]) -> AnyPredictorConfig:
    """Returns a predictor's config from a checkpoint's card; without a kind it is a ModernBERT's.

    Raises:
        ConfigError: a field is unknown, or of the wrong type.
    """
    return decode(dict(card), AnyPredictorConfig, "predictor")


def with_layers(config: AnyPredictorConfig, count: int) -> AnyPredictorConfig:
    """Returns the same sizes with ``count`` layers."""
    if isinstance(config, PredictorConfig):
        return replace(config, layers=count)
    return replace(config, depth=count)


def load_pretrained(predictor: Predictor) -> None:
    """Copies the text encoder's layers into ``predictor`` if its config says so."""
    config = predictor.config
    if isinstance(config, PredictorConfig) and config.init == "modernbert":
        load_modernbert(predictor, config.source)


def load_modernbert(predictor: Predictor, source: str) -> None:
    """Copies the last layers of a ModernBERT into ``predictor``.

    Args:
        predictor: network with the sizes of the text encoder.
        source: folder with ``config.json`` and weights, or hub id.

    Raises:
        ValueError: transformers is missing, the text encoder has other sizes, or its weights are
            integers or not finite.
    """
    try:
        from transformers import ModernBertModel
    except ImportError as error:
        raise ValueError(
            'the ModernBERT predictor needs transformers: pip install "ivn[hf]", '
            'or set model.predictor.init to "scratch"'
        ) from error
    check_published(source)
    loaded: Any = ModernBertModel.from_pretrained(
        source, dtype=torch.float32, output_loading_info=True
    )
    text, loading = loaded
    theirs, ours = text.config, predictor.config
    assert isinstance(ours, PredictorConfig)
    thetas = _thetas(theirs)
    pairs = {
        "width": (theirs.hidden_size, ours.width),
        "heads": (theirs.num_attention_heads, ours.heads),
        "hidden": (theirs.intermediate_size, ours.hidden),
        "total_layers": (theirs.num_hidden_layers, ours.total_layers),
        "global_every": (_global_every(theirs), ours.global_every),
        "local_window": (theirs.local_attention // 2, ours.local_window),
        "global_theta": (thetas[0], ours.global_theta),
        "local_theta": (thetas[1], ours.local_theta),
    }
    for name, (given, expected) in pairs.items():
        if given != expected:
            raise ValueError(f"{source} has {name} {given}, model.predictor.{name} is {expected}")
    shape = (theirs.norm_eps, theirs.hidden_activation, theirs.attention_bias, theirs.mlp_bias)
    if shape != (1e-5, "gelu", False, False):
        raise ValueError(
            f"{source} has norm_eps, activation and biases {shape}, expected ModernBERT's own "
            "(1e-05, 'gelu', False, False)"
        )
    prefixes = tuple(f"layers.{i}." for i in ours.layer_ids)
    missing = [
        key for key in loading["missing_keys"] if key.removeprefix("model.").startswith(prefixes)
    ]
    if missing:
        raise ValueError(f"{source}: missing {', '.join(sorted(missing)[:8])}")
    for layer, layer_id in zip(predictor.layers, ours.layer_ids, strict=True):
        state = text.layers[layer_id].state_dict()
        for key, value in state.items():
            check_weight(f"layers.{layer_id}.{key}", value, source)
        layer.load_state_dict(state)


def _thetas(config: Any) -> tuple[float, float]:
    """Returns rotary bases of global and local layers; transformers 5 has them by kind of layer."""
    ropes = getattr(config, "rope_parameters", None)
    if ropes is None:
        return config.global_rope_theta, config.local_rope_theta
    return ropes["full_attention"]["rope_theta"], ropes["sliding_attention"]["rope_theta"]


def _global_every(config: Any) -> int:
    """Returns the period of layers that see the whole sequence; transformers 5 lists all kinds."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return config.global_attn_every_n_layers
    places = [i for i, kind in enumerate(kinds) if kind == "full_attention"]
    return places[1] - places[0] if len(places) > 1 else len(kinds)
