"""Every launch of a Triton kernel that the presets make, with tensors that have no memory.

A module NOUN of ``ivn.kernels`` has a function ``NOUN_launches`` of a config here.
Legend: B batch, N tokens of a clip, R rows, C, D and W features.
"""

import pkgutil
from collections.abc import Iterator
from functools import partial

import torch

import ivn.kernels
from ivn.config.presets import PRESETS
from ivn.config.run import Config
from ivn.keys import Purpose
from ivn.model.decoder import DiffusionConfig
from ivn.model.diffusion import STEPS

NOUNS = [
    module.name
    for module in pkgutil.iter_modules(ivn.kernels.__path__)
    if not module.name.startswith("_")
]
Launch = tuple[str, tuple]  # a function of a module of ivn.kernels, its arguments

BATCH = 16
TEACHER_WIDTHS = (768, 1024, 1152, 1280, 1536)  # SigLIP's four, EfficientNet-Lite0's between them
empty = partial(torch.empty, device="meta")


def launches() -> Iterator[tuple[str, str, tuple]]:
    """Yields the module, its function, and the arguments, of all presets."""
    for make in PRESETS.values():
        config = make()
        for noun in NOUNS:
            for launcher, arguments in globals()[f"{noun}_launches"](config):
                yield noun, launcher, arguments


def norm_launches(config: Config) -> Iterator[Launch]:
    """Returns launches of the encoder's blocks, with a stream in the branches' dtype or fp32."""
    C, R = config.model.encoder.width, BATCH * (4 + tokens(config))
    branch = empty(R, C, dtype=compute_dtype(config))
    scale, weight, drop = empty(C), empty(C), empty(R)
    for stream in {branch.dtype, torch.float32}:
        x = empty(R, C, dtype=stream)
        yield "add_norm_forward", (x, branch, scale, drop, weight, 1e-6)
        yield "add_norm_backward", (x, branch, x, branch, scale, drop, weight, 1e-6)
        yield "rms_norm_forward", (x, weight, 1e-6, branch.dtype)
        yield "rms_norm_backward", (branch, x, weight, 1e-6)
    qkv, weights = empty(R, 3, C, dtype=branch.dtype), empty(2, C)
    yield "qk_norm_forward", (qkv, weights, 1e-6)
    yield "qk_norm_backward", (qkv, qkv, weights, 1e-6)


def modulation_launches(config: Config) -> Iterator[Launch]:
    """Returns launches of the denoiser: its first norm, those after steps, and the last one."""
    if not isinstance(config.model.decoder, DiffusionConfig):
        return
    W, R = config.model.decoder.width, BATCH * tokens(config)
    x = empty(R, W, dtype=compute_dtype(config))
    shift, scale, gate = empty(R, 3 * W, dtype=x.dtype).chunk(3, dim=-1)
    yield "modulate_forward", (x, shift, scale, empty(2, W), 1e-6)
    yield "modulate_backward", (x, x, scale, empty(2, W), 1e-6)
    for affine in (empty(2, W), empty(0, W)):
        yield "gated_modulate_forward", (x, gate, x, shift, scale, affine, 1e-6)
        yield "gated_modulate_backward", (x, x, x, gate, x, scale, affine, 1e-6)


def distance_launches(config: Config) -> Iterator[Launch]:
    """Returns launches of heads in both feature spaces, to targets of either dtype."""
    for D in (*TEACHER_WIDTHS, config.model.encoder.width):
        R, affine = BATCH * tokens(config), empty(2, D)
        pred = empty(R, D, dtype=compute_dtype(config))
        for dtype in {pred.dtype, torch.float32}:
            target = empty(R, D, dtype=dtype)
            yield "cosine_distance_forward", (pred, target, affine, 1e-5, 1e-6)
            yield "cosine_distance_backward", (empty(R), pred, target, affine, 1e-5, 1e-6)


def diffusion_launches(config: Config) -> Iterator[Launch]:
    """Returns launches of the decoder's noisy target, and of its loss on the network's output."""
    if not isinstance(config.model.decoder, DiffusionConfig):
        return
    R, D, dtype = BATCH * tokens(config), 3 * config.model.encoder.patch_size**2, torch.int64
    target, output = empty(R, D), empty(R, 2 * D, dtype=compute_dtype(config))
    given = (empty(BATCH, 4, dtype=dtype), empty(R, dtype=dtype), empty(STEPS, 6))
    purpose = int(Purpose.NOISE) << 24
    yield "noisy_target", (target, *given, purpose, output.dtype)
    yield "diffusion_loss_forward", (output, target, *given, purpose)
    yield "diffusion_loss_backward", (empty(R), empty(R), output, target, *given, purpose)


def tokens(config: Config) -> int:
    """The number of tokens of a whole clip."""
    patch = config.model.encoder.patch_size
    assert config.stage.size % patch == 0
    return config.stage.frames * (config.stage.size // patch) ** 2


def compute_dtype(config: Config) -> torch.dtype:
    return getattr(torch, config.model.dtype)
