"""What a run does to a clip: its mask, its teacher's attention, its decoder's pixels.

Legend: T frames, n tokens of a frame, N = T * n, V visible and P masked tokens, p side of a patch,
D = 3 * p * p.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ivn.data.clip import IMAGENET_MEAN, IMAGENET_STD, Batch
from ivn.model.decoder import DiffusionDecoder
from ivn.model.diffusion import STEPS, cosine_schedule, predicted_target
from ivn.model.packed import Index, Packed
from ivn.model.patch import normalised, patch_grid
from ivn.ops.random import Purpose, make_keys, normal
from ivn.report.content import Film, Pixels, Strip
from ivn.report.picture import grey_out, paste_patches
from ivn.stages import Stage1

from .clips import Clip
from .opened import Opened

# The largest magnitude of a normalised pixel.
BRIGHTEST = max((1 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
NOISE_STEPS = (100, 400, 700)
SAMPLING_STEPS = (10, 50, 250)
# Operations that a CPU may spend on one clip's sampling: half a minute or so.
_CPU_BUDGET = 1.5e12


class Mask(NamedTuple):
    """One mask of a clip: its label, and the tokens of the clip that it leaves, ``[V]``."""

    label: str
    visible: NDArray[np.int64]


class Look(NamedTuple):
    """What a run sees of a clip: masks, and the teacher's attention ``[T, rows, columns]``."""

    frames: Pixels
    masks: list[Mask]
    attention: NDArray[np.float32] | None


@torch.no_grad()
def look(run: Opened, clip: Clip, number: int) -> Look:
    """The masks that the run's own rule and seed draw for a clip, were it the ``number``-th."""
    stage, batch = run.stage, _batch(run, clip, number)
    video = batch.clips["student"]
    frames = video[0].cpu().numpy()
    grid = patch_grid(video, run.config.model.encoder.patch_size)
    assert stage is not None
    told, views = stage.semantic.look(batch).attention, stage.masking.views
    masks = [
        Mask(
            f"visible, view {view + 1}" if views > 1 else "visible",
            _index(stage.mask(batch, told, view=view)[0]),
        )
        for view in range(views)
    ]
    if not isinstance(stage, Stage1) or stage.teacher is None:
        return Look(frames, masks, None)
    heat = attention_of(stage, batch, told)[0].unflatten(1, grid[1:])
    return Look(frames, masks, heat.float().cpu().numpy())


@torch.no_grad()
def reconstructions(run: Opened, clip: Clip, number: int) -> list[Strip]:
    """One frame of a clip drawn by the run's decoder: samples, and single steps out of noise."""
    stage, batch = run.stage, _batch(run, clip, number)
    assert isinstance(stage, Stage1)
    video, p = batch.clips["student"], run.config.model.encoder.patch_size
    visible, masked = stage.mask(batch, stage.look(batch).attention)
    z = stage.student(video, visible, masked).predicted
    target = stage.pixel_target(video, masked)
    T, rows, columns = patch_grid(video, p)
    n, frame = rows * columns, T // 2
    here = (masked[0] // n == frame).nonzero()[:, 0]
    index = (masked[0, here] - frame * n).cpu().numpy()
    z, target = z[:, here], target[:, here]
    seen_here = visible[0][visible[0] // n == frame] - frame * n
    pixels = video[0, frame : frame + 1].cpu().numpy()
    grey = grey_out(pixels, seen_here.cpu().numpy(), patch_size=p)

    def drawn(label: str, patches: Tensor, *, judged: bool = True) -> Film:
        found = patches[0].float().cpu().numpy()
        note = f"{_psnr(found, target[0].float().cpu().numpy()):.1f} dB" if judged else ""
        return Film(label, paste_patches(grey, found, index, patch_size=p), note)

    first = [Film("frame", pixels), Film("visible", grey)]
    decoder = stage.decoder
    assert decoder is not None
    if not isinstance(decoder, DiffusionDecoder):
        found = decoder.sample(z, batch.keys, limit=BRIGHTEST)
        return [Strip(f"{clip.name}: drawn at once", [*first, drawn("prediction", found)])]
    samples = [
        drawn(f"{steps} steps", decoder.sample(z, batch.keys, steps=steps, limit=BRIGHTEST))
        for steps in affordable(decoder, z.shape[1], z.device)
    ]
    singles = []
    for t in NOISE_STEPS:
        noisy, estimate = _denoised(decoder, target, z, batch.keys, t)
        singles += [
            drawn(f"noise of step {t}", noisy, judged=False),
            drawn("estimate", estimate),
        ]
    return [
        Strip(f"{clip.name}: sampled", [*first, *samples]),
        Strip(f"{clip.name}: one step out of noise", singles),
    ]


def affordable(decoder: DiffusionDecoder, rows: int, device: torch.device) -> tuple[int, ...]:
    """The sampling lengths that the device draws ``rows`` patches with in reasonable time."""
    if device.type != "cpu":
        return SAMPLING_STEPS
    parameters = sum(parameter.numel() for parameter in decoder.parameters())
    costs = itertools.accumulate(2 * parameters * rows * steps for steps in SAMPLING_STEPS)
    fits = [s for s, cost in zip(SAMPLING_STEPS, costs, strict=True) if cost <= _CPU_BUDGET]
    return tuple(fits) or SAMPLING_STEPS[:1]


def _denoised(
    decoder: DiffusionDecoder, target: Tensor, z: Tensor, keys: Tensor, t: int
) -> tuple[Tensor, Tensor]:
    """``x_t`` of the target and the clean target that the decoder makes of it, ``[1, P, D]``."""
    wide = target.dtype
    step = cosine_schedule(z.device).at(torch.tensor([t], device=z.device), wide)
    # Samples take the layers 0 to their number of steps.
    drawn = normal(keys, Purpose.SAMPLING, target[0].numel(), layer=STEPS + 1 + t, dtype=wide)
    noisy = step.signal_scale * target[0] + step.noise_scale * drawn.view_as(target[0])
    time = decoder.net.time_embed(torch.tensor([t], device=z.device), z.dtype)
    noise, _ = decoder.net(noisy.to(z.dtype), time, z[0]).to(wide).chunk(2, -1)
    clean = predicted_target(noisy, noise, step).clamp(-BRIGHTEST, BRIGHTEST)
    return noisy[None], clean[None]


def attention_of(stage: Stage1, batch: Batch, seen: Tensor) -> Tensor:
    """The teacher's attention ``[B, T, n]``; asked for where the mask did without it."""
    if seen.numel() or stage.teacher is None:
        return seen
    if "teacher" in batch.clips:
        return stage.teacher(batch.clips["teacher"], layers=False, pooled=False).attention
    pixels = normalised(batch.clips["student"])
    return stage.teacher.from_student(pixels, layers=False, pooled=False).attention


def mask_films(found: Look, *, patch_size: int, suffix: str) -> list[Film]:
    """A film for each mask of a clip."""
    films = []
    for mask in found.masks:
        share = len(mask.visible) / (found.frames[..., 0].size / patch_size**2)
        seen = grey_out(found.frames, mask.visible, patch_size=patch_size)
        films.append(Film(f"{mask.label}{suffix}", seen, f"{share:.0%} of the tokens"))
    return films


def _batch(run: Opened, clip: Clip, number: int) -> Batch:
    assert run.stage is not None
    where = next(run.stage.parameters()).device
    clips = {name: view.to(where) for name, view in clip.views[run.name].items()}
    keys = make_keys(run.config.data.seed, 0, [number])
    return Batch(clips, keys).to(where)


def _index(index: Index) -> NDArray[np.int64]:
    tokens = index.index if isinstance(index, Packed) else index[0]
    return tokens.cpu().numpy()


def _psnr(found: NDArray, target: NDArray) -> float:
    """Peak signal to noise of the drawn patches, in dB; both ``[P, D]``, normalised."""
    std = np.repeat(np.array(IMAGENET_STD), found.shape[1] // 3)
    error = float(np.mean(((found - target) * std) ** 2))
    return -10 * math.log10(max(error, 1e-10))
