"""Both stages in plain PyTorch: all tokens are embedded, masks are boolean, tensors are whole.

Tests compare gradients with these, and benchmarks compare time. Nothing of ``ivn`` is imported:
parameters are a dict with the names of ``stage.named_parameters()``, so that they are leaves with
gradients of their own; sizes are fields of the configs.

Legend: B batch, T frames, N tokens of a clip, V visible and M masked ones, C encoder width,
W predictor width, H heads, D features (of a head, a teacher, a patch), R = B * M rows.
"""

import functools
import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLS = 4
STEPS = 1000


def normalise(video: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns uint8 ``[B, T, H, W, 3]`` as ImageNet-normalised ``[B, 3, T, H, W]``."""
    mean, std = (torch.tensor(v, dtype=dtype, device=video.device) for v in (MEAN, STD))
    return ((video.to(dtype) / 255 - mean) / std).permute(0, 4, 1, 2, 3).contiguous()


def to_mask(index: Tensor, N: int) -> Tensor:
    """Returns ``[B, V]`` indices as ``[B, N]`` booleans."""
    return torch.zeros(len(index), N, dtype=torch.bool, device=index.device).scatter(1, index, True)


def drop_factors(u: Tensor, rate: float) -> Tensor:
    """Returns stochastic depth, ``[B, depth, 2]``, from ``[B, 2 * depth]`` numbers in (0, 1).

    Block i drops a branch with probability ``rate * i / (depth - 1)``, or else divides it by the
    probability to stay.
    """
    u = u.unflatten(1, (-1, 2))
    depth = u.shape[1]
    chance = rate * torch.arange(depth, dtype=u.dtype, device=u.device)[:, None] / (depth - 1)
    return torch.where(u >= chance, 1 / (1 - chance), 0.0)


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    """Returns attention, written out, of ``[B, H, N, D]``; ``allowed`` is ``[N, N]`` or None."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return scores.softmax(-1) @ value


Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


class PlainModel:
    """Encoder, predictor, decoder and alignment heads as functions of a dict of parameters."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        encoder,  # EncoderConfig
        predictor,  # PredictorConfig
        attend: Attend = softmax_attention,
    ) -> None:
        self.p, self.encoder, self.predictor, self.attend = parameters, encoder, predictor, attend

    # Layers, by the names of their parameters.

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.p[f"{name}.weight"], self.p.get(f"{name}.bias"))

    def rms_norm(self, name: str, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.p[f"{name}.weight"]

    def layer_norm(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        weight, bias = self.p[f"{name}.weight"], self.p.get(f"{name}.bias")
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def project(self, name: str, x: Tensor) -> Tensor:
        """Applies Linear, GELU, Linear, LayerNorm."""
        hidden = F.gelu(self.linear(f"{name}.head.0", x))
        return self.layer_norm(f"{name}.norm", self.linear(f"{name}.head.2", hidden))

    def count(self, prefix: str, suffix: str) -> int:
        """Returns the number of parameters ``prefix{0, 1, ...}suffix``."""
        return sum(name.startswith(prefix) and name.endswith(suffix) for name in self.p)

    # Encoder.

    def grid(self, video: Tensor) -> tuple[int, int, int]:
        size = self.encoder.patch_size
        return video.shape[2], video.shape[3] // size, video.shape[4] // size

    def positions(self, name: str, grid: tuple[int, int, int]) -> Tensor:
        """Returns the table ``name`` at ``grid``, ``[1, 4 + N, C]``."""
        size = self.encoder.patch_size
        frames = self.encoder.num_frames
        rows, columns = self.encoder.image_height // size, self.encoder.image_width // size
        cls, table = self.p[name].split([CLS, frames * rows * columns], dim=1)
        C = table.shape[2]
        if frames != grid[0]:
            in_time = table.view(1, frames, rows * columns * C).transpose(1, 2)
            in_time = F.interpolate(in_time, size=grid[0], mode="linear", align_corners=False)
            table = in_time.transpose(1, 2)
        if (rows, columns) != grid[1:]:
            images = table.reshape(grid[0], rows, columns, C).permute(0, 3, 1, 2)
            images = F.interpolate(images, size=grid[1:], mode="bicubic", align_corners=False)
            table = images.permute(0, 2, 3, 1)
        return torch.cat([cls, table.reshape(1, -1, C)], dim=1)

    def embed(self, video: Tensor, visible: Tensor | None, part: str = "encoder") -> Tensor:
        """Embeds all of ``[B, 3, T, H, W]``, then selects cls and ``visible`` ``[B, N]``."""
        size, (B, _, T, H, W) = self.encoder.patch_size, video.shape
        h, w = H // size, W // size
        patches = video.view(B, 3, T, h, size, w, size).permute(0, 2, 3, 5, 4, 6, 1)
        rows = self.rms_norm(f"{part}.patch_embed.norm_before", patches.flatten(4))
        image = rows.view(B, T, h, w, size, size, 3).permute(0, 6, 1, 2, 4, 3, 5)
        weight, bias = (self.p[f"{part}.patch_embed.proj.{name}"] for name in ("weight", "bias"))
        x = F.conv3d(image.reshape(video.shape), weight, bias, stride=(1, size, size))
        x = self.rms_norm(f"{part}.patch_embed.norm", x.flatten(2).transpose(1, 2))
        x = torch.cat([self.p[f"{part}.cls_token"].expand(B, -1, -1), x], dim=1)
        x = x + self.positions(f"{part}.pos_embed", (T, h, w))
        if visible is None:
            return x
        kept = torch.cat([visible.new_ones(B, CLS), visible], dim=1)
        return x[kept].view(B, -1, x.shape[2])

    def encode(
        self,
        video: Tensor,
        visible: Tensor | None,
        drop: Tensor | None,
        part: str = "encoder",
    ) -> list[Tensor]:
        """Returns the stream after every block, each ``[B, 4 + V, C]``.

        ``drop`` ``[B, depth, 2]`` holds the factors of the two branches of each block.
        """
        x, streams = self.embed(video, visible, part), []
        for i in range(self.encoder.depth):
            name = f"{part}.blocks.{i}"
            for j, branch in enumerate((self._attention_branch, self._mlp_branch)):
                y = branch(name, x)
                x = x + (y if drop is None else y * drop[:, i, j, None, None].to(y.dtype))
            streams.append(x)
        return streams

    @torch.no_grad()
    def look(self, video: Tensor, drop: Tensor | None) -> Tensor:
        """Returns the features of stage two's teacher for the whole clip, ``[B, N, C]``."""
        return self.encode(video, None, drop, part="teacher")[-1][:, CLS:]

    def _attention_branch(self, name: str, x: Tensor) -> Tensor:
        y = self.linear(f"{name}.attn.qkv", self.rms_norm(f"{name}.norm1", x))
        query, key, value = y.chunk(3, dim=-1)
        query = self.rms_norm(f"{name}.attn.q_norm", query)
        key = self.rms_norm(f"{name}.attn.k_norm", key)
        y = self._heads(query, key, value, self.encoder.heads, None)
        return self.linear(f"{name}.attn.proj", y) * self.p[f"{name}.ls1.gamma"]

    def _mlp_branch(self, name: str, x: Tensor) -> Tensor:
        y = self.linear(f"{name}.mlp.fc1", self.rms_norm(f"{name}.norm2", x))
        y = self.linear(f"{name}.mlp.fc2", F.gelu(y, approximate="tanh"))
        return y * self.p[f"{name}.ls2.gamma"]

    def _heads(
        self, query: Tensor, key: Tensor, value: Tensor, H: int, allowed: Tensor | None
    ) -> Tensor:
        """Returns multi-head attention of ``[B, N, C]``, in ``H`` parts of the features."""
        split = (x.unflatten(2, (H, -1)).transpose(1, 2) for x in (query, key, value))
        return self.attend(*split, allowed).transpose(1, 2).flatten(2)

    def pool(self, hidden: Tensor) -> Tensor:
        """Returns ``[B, D]`` for ``[B, 4 + V, C]``."""
        name = "encoder.clip_projector"
        inputs = {"q": hidden.mean(1, keepdim=True), "k": hidden, "v": hidden}
        projected = [
            self.linear(f"{name}.cross_attn.{letter}", self.layer_norm(f"{name}.norm1_{letter}", x))
            + self.p[f"{name}.cross_attn.{letter}_bias"]
            for letter, x in inputs.items()
        ]
        mixed = self._heads(*projected, self.encoder.pool_heads, None)
        return self.linear(f"{name}.cross_attn.proj", mixed)[:, 0]

    # Predictor: the last layers of a ModernBERT.

    def predict(self, hidden: Tensor, visible: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Returns ``[B, N, W]`` for ``[B, 4 + V, C]`` and ``[B, N]`` booleans."""
        B, N = visible.shape
        tokens = self.p["predictor.mask_token"].expand(B, N, -1).clone()
        tokens[visible] = hidden[:, CLS:].flatten(0, 1).to(tokens.dtype)
        x = torch.cat([hidden[:, :CLS], tokens], dim=1)
        x = self.project("predictor.proj", x + self.positions("predictor.pos_embed", grid))
        for i in range(self.predictor.layers):
            x = self._predictor_layer(i, x)
        return x[:, CLS:]

    def _predictor_layer(self, i: int, x: Tensor) -> Tensor:
        sizes, name = self.predictor, f"predictor.layers.{i}"
        number = sizes.total_layers - sizes.layers + i
        y = self.layer_norm(f"{name}.attn_norm", x) if number > 0 else x
        query, key, value = self.linear(f"{name}.attn.Wqkv", y).chunk(3, dim=-1)
        if number % sizes.global_every == 0:
            theta, allowed = sizes.global_theta, None
        else:
            place = torch.arange(x.shape[1], device=x.device)
            theta = sizes.local_theta
            allowed = (place[:, None] - place).abs() <= sizes.local_window
        query, key = (rotary(t.unflatten(2, (sizes.heads, -1)), theta) for t in (query, key))
        y = self._heads(query.flatten(2), key.flatten(2), value, sizes.heads, allowed)
        x = x + self.linear(f"{name}.attn.Wo", y)
        y = self.linear(f"{name}.mlp.Wi", self.layer_norm(f"{name}.mlp_norm", x))
        activated, gate = y.chunk(2, dim=-1)
        return x + self.linear(f"{name}.mlp.Wo", F.gelu(activated) * gate)

    # Decoders.

    def denoise(self, x: Tensor, timestep: Tensor, z: Tensor) -> Tensor:
        """Returns noise and variance, ``[R, 2 * D]``, for ``[R, D]``, ``[R]`` and ``[R, W]``."""
        net, half = "decoder.net", 128
        power = torch.arange(half, dtype=torch.float64, device=x.device) / half
        angle = timestep[:, None] / 10000**power
        waves = torch.cat([angle.cos(), angle.sin()], dim=1).to(x.dtype)
        time = self.linear(f"{net}.time_embed.mlp.0", waves)
        time = self.linear(f"{net}.time_embed.mlp.2", F.silu(time))
        steer = F.silu(time + self.linear(f"{net}.cond_embed", z))
        h = self.linear(f"{net}.input_proj", x)
        for i in range(self.count(f"{net}.res_blocks.", "in_ln.weight")):
            name = f"{net}.res_blocks.{i}"
            shift, scale, gate = self.linear(f"{name}.adaLN_modulation.1", steer).chunk(3, dim=1)
            y = self.layer_norm(f"{name}.in_ln", h, 1e-6) * (1 + scale) + shift
            h = h + gate * self.linear(f"{name}.mlp.2", F.silu(self.linear(f"{name}.mlp.0", y)))
        shift, scale = self.linear(f"{net}.final_layer.adaLN_modulation.1", steer).chunk(2, dim=1)
        y = F.layer_norm(h, h.shape[-1:], eps=1e-6) * (1 + scale) + shift
        return self.linear(f"{net}.final_layer.linear", y)

    def diffusion_loss(self, target: Tensor, z: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """Returns the squared error of the noise plus the variational term in bits, ``[R]``."""
        tables = {
            name: torch.tensor(values, dtype=target.dtype, device=target.device)[timestep, None]
            for name, values in diffusion_tables().items()
        }
        x_t = tables["signal"] * target + tables["noise"] * noise
        estimate, between = self.denoise(x_t, timestep, z).to(target.dtype).chunk(2, dim=1)
        error = (estimate - noise).pow(2).mean(1)

        known = estimate.detach()
        clean = (x_t - tables["noise"] * known) / tables["signal"]
        mean = tables["clean"] * clean + tables["noisy"] * x_t
        true_mean = tables["clean"] * target + tables["noisy"] * x_t
        low, high = tables["log_variance"], tables["beta"].log()
        log_variance = low + (between + 1) / 2 * (high - low)
        kl = 0.5 * (
            -1 + log_variance - low + torch.exp(low - log_variance)
            + (true_mean - mean).pow(2) / torch.exp(log_variance)
        )  # fmt: skip
        first = -binned_gaussian(target, mean, torch.exp(0.5 * log_variance))
        bits = torch.where(timestep[:, None] == 0, first, kl).mean(1) / math.log(2)
        return error + bits

    def pixel_loss(self, target: Tensor, z: Tensor) -> Tensor:
        """Returns the squared error of a linear layer or an MLP with GELU, ``[R]``."""
        depth = self.count("decoder.net.", ".weight")
        for i in range(depth):
            z = self.linear(f"decoder.net.{2 * i}", F.gelu(z) if i else z)
        return (z.to(target.dtype) - target).pow(2).mean(1)


def rotary(x: Tensor, theta: float) -> Tensor:
    """Returns ``[B, N, H, D]`` with rotary positions, like ModernBERT's ``rotate_half``."""
    N, D = x.shape[1], x.shape[3]
    rate = 1 / theta ** (torch.arange(0, D, 2, dtype=torch.float64, device=x.device) / D)
    angle = torch.outer(torch.arange(N, dtype=torch.float64, device=x.device), rate).repeat(1, 2)
    wide = torch.promote_types(x.dtype, torch.float32)
    cos, sin = angle.cos().to(wide)[:, None], angle.sin().to(wide)[:, None]
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


@functools.cache
def diffusion_tables() -> dict[str, list[float]]:
    """Returns tables for the 1000 steps of the cosine schedule."""

    def signal_at(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    tables: dict[str, list[float]] = {
        name: [] for name in ("beta", "signal", "noise", "clean", "noisy", "variance")
    }
    before = 1.0
    for step in range(STEPS):
        beta = min(1 - signal_at((step + 1) / STEPS) / signal_at(step / STEPS), 0.999)
        after = before * (1 - beta)
        tables["beta"].append(beta)
        tables["signal"].append(math.sqrt(after))
        tables["noise"].append(math.sqrt(1 - after))
        tables["clean"].append(beta * math.sqrt(before) / (1 - after))
        tables["noisy"].append((1 - before) * math.sqrt(1 - beta) / (1 - after))
        tables["variance"].append(beta * (1 - before) / (1 - after))
        before = after
    variance = tables.pop("variance")
    tables["log_variance"] = [math.log(v) for v in [variance[1], *variance[1:]]]
    return tables


def binned_gaussian(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Returns the log-probability of the 2/255 bin around ``x``; the outermost bins are open."""

    def below(edge: Tensor) -> Tensor:
        y = edge / deviation  # (1 + tanh) / 2 is a sigmoid, which keeps its digits far below 0
        return torch.sigmoid(2 * math.sqrt(2 / math.pi) * (y + 0.044715 * y.pow(3)))

    off = x - mean
    outside = -off.abs()  # the lower of two bins equally far from the mean
    inside = below(outside + 1 / 255) - below(outside - 1 / 255)
    lowest, highest = below(off + 1 / 255), below(1 / 255 - off)
    probability = torch.where(x < -0.999, lowest, torch.where(x > 0.999, highest, inside))
    return probability.clamp(min=1e-12).log()


def cosine(ours: Tensor, theirs: Tensor, eps: float = 1e-6) -> Tensor:
    """Returns the cosine between matching rows, in at least fp32; norms are at least ``eps``."""
    wide = torch.promote_types(ours.dtype, torch.float32)
    ours, theirs = ours.to(wide), theirs.detach().to(wide)
    return (F.normalize(ours, dim=-1, eps=eps) * F.normalize(theirs, dim=-1, eps=eps)).sum(-1)


def stage1_losses(
    model: PlainModel,
    config,  # Stage1Config
    video: Tensor,
    visible: Tensor,
    *,
    layers: Tensor,
    pooled: Tensor,
    timestep: Tensor,
    noise: Tensor,
    drop: Tensor | None,
) -> dict[str, Tensor]:
    """Returns the mean of every term of stage one.

    Args:
        video: normalised ``[B, 3, T, H, W]``.
        visible: ``[B, N]`` booleans.
        layers, pooled: the teacher's raw features ``[K, B, N, D]`` and vectors ``[B, T, D]``.
        timestep, noise: ``[R]`` and ``[R, D]``.
        drop: see :meth:`PlainModel.encode`.
    """
    B = len(video)
    loss = {
        "negative_cosine": lambda cos: -cos,
        "two_minus_two_cosine": lambda cos: 2 - 2 * cos,
    }[config.alignment_loss]
    streams = model.encode(video, visible, drop)
    grid = model.grid(video)
    K = model.count("alignment.layers.", ".norm.weight")
    assert len(layers) == K
    places = model.positions("alignment.pos_embed", grid)[:, CLS:].expand(B, -1, -1)
    places = places[visible].view(B, -1, places.shape[2])
    aligned = [
        model.project(f"alignment.layers.{k}", stream[:, CLS:] + places)
        for k, stream in enumerate(streams[len(streams) - K :])
    ]
    taught = [layer[visible].view(B, -1, layer.shape[2]) for layer in layers]
    cosines = [cosine(*pair) for pair in zip(aligned, taught, strict=True)]
    losses = {"layers": loss(torch.stack(cosines)).mean()}
    if config.align_pooled:
        vector = model.project("alignment.pooled", model.pool(streams[-1]))
        goal = F.normalize(pooled, dim=-1).mean(1)
        length = 1 if config.renormalise_pooled else goal.norm(dim=-1)
        losses["pooled"] = loss(cosine(vector, goal, eps=1e-12) * length).mean()

    predicted = model.predict(streams[-1], visible, grid)[~visible]
    wide = torch.promote_types(video.dtype, torch.float32)
    frames = video.transpose(1, 2).flatten(0, 1).to(wide)
    patches = F.pixel_unshuffle(frames, model.encoder.patch_size).flatten(2).transpose(1, 2)
    target = patches.reshape(B, -1, patches.shape[2])[~visible]
    if "decoder.net.input_proj.weight" in model.p:
        rows = model.diffusion_loss(target, predicted, timestep, noise)
    else:
        rows = model.pixel_loss(target, predicted)
    return losses | {"pixels": rows.mean()}


def stage2_losses(
    model: PlainModel,
    video: Tensor,
    visible: list[Tensor],
    *,
    drop: list[Tensor | None],
    teacher_drop: Tensor | None,
) -> dict[str, Tensor]:
    """Returns the mean of each view's term; each view has ``visible`` ``[B, N]`` and ``drop``."""
    features = model.look(video, teacher_drop)
    losses = {}
    for view, (seen, factors) in enumerate(zip(visible, drop, strict=True), start=1):
        hidden = model.encode(video, seen, factors)[-1]
        predicted = model.project("decoder", model.predict(hidden, seen, model.grid(video)))
        losses[f"view{view}"] = (2 - 2 * cosine(predicted[~seen], features[~seen])).mean()
    return losses
