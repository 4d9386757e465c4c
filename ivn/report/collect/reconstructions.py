"""Draws frames with a run's decoder: samples of several lengths, and single steps out of noise.

Legend: B clips, P masked patches of a frame, D = 3 * p * p, W predictor's width.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.keys import Purpose
from ivn.model.decoder import DiffusionDecoder, PixelHead
from ivn.model.diffusion import STEPS, cosine_schedule, predicted_target
from ivn.model.patch import patch_grid
from ivn.ops.random import normal
from ivn.progress import tracked
from ivn.report.draw.images import Pixels
from ivn.report.draw.picture import grey_out, paste_patches
from ivn.report.page.content import Film, Strip
from ivn.stages.teachers import STUDENT

from .clips import Clip
from .opened import Opened
from .views import batch_of

# The largest magnitude of a normalised pixel.
BRIGHTEST = max((1 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
NOISE_STEPS = (100, 400, 700)
SAMPLING_STEPS = (10, 30, 100)
# Operations that a CPU may spend on samples: half a minute or so of one thread.
_CPU_BUDGET = 1.5e12


@dataclass(frozen=True)
class Frame:
    """One frame of a clip, with the decoder's input and target.

    Attributes:
        title: name of the clip.
        pixels: the frame, uint8 ``[1, H, W, 3]``.
        grey: the frame with its masked patches grey.
        index: numbers of the masked patches in the frame, ``[P]``.
        z: the predictor's tokens there, ``[P, W]``.
        target: the normalised pixels there, ``[P, D]``.
        key: key of the clip, int64 ``[1, 4]``.
        patch_size: side of a patch, p.
    """

    title: str
    pixels: Pixels
    grey: Pixels
    index: NDArray[np.int64]
    z: Tensor
    target: Tensor
    key: Tensor
    patch_size: int

    def drawn(self, label: str, patches: Tensor, *, judged: bool = True) -> Film:
        """Returns the frame with ``patches`` ``[P, D]`` in the masked places."""
        found = patches.float().cpu().numpy()
        note = f"{_psnr(found, self.target.float().cpu().numpy()):.1f} dB" if judged else ""
        frame = paste_patches(self.grey, found, self.index, patch_size=self.patch_size)
        return Film(label, frame, note)


@torch.no_grad()
def reconstructions(run: Opened, clips: Sequence[Clip]) -> list[Strip]:
    """Draws the middle frame of each clip with the run's decoder of pixels."""
    assert run.stage is not None
    decoder = run.stage.decoder_of_pixels
    assert decoder is not None
    frames = [_frame(run, clip, number) for number, clip in enumerate(clips)]
    keys = torch.cat([frame.key for frame in frames])
    z = torch.nn.utils.rnn.pad_sequence([frame.z for frame in frames], batch_first=True)
    if isinstance(decoder, PixelHead):
        samples = {"prediction": decoder.sample(z, keys, limit=BRIGHTEST)}
    else:
        lengths = affordable(decoder, z.shape[0] * z.shape[1], z.device)
        samples = {
            f"{steps} steps": decoder.sample(z, keys, steps=steps, limit=BRIGHTEST)
            for steps in tracked(
                lengths, f"reconstructions of {run.name}", len(lengths), errors=True
            )
        }
    strips = []
    for number, frame in enumerate(frames):
        P = len(frame.index)
        films = [Film("frame", frame.pixels), Film("visible", frame.grey)]
        films += [frame.drawn(label, drawn[number, :P]) for label, drawn in samples.items()]
        strips.append(Strip(f"{frame.title}: drawn from nothing but what is visible", films))
        if isinstance(decoder, DiffusionDecoder):
            strips.append(Strip(f"{frame.title}: one step out of noise", _singles(decoder, frame)))
    return strips


def affordable(decoder: DiffusionDecoder, rows: int, device: torch.device) -> tuple[int, ...]:
    """Returns the numbers of steps in which ``rows`` patches are sampled in reasonable time."""
    if device.type != "cpu":
        return SAMPLING_STEPS
    parameters = sum(parameter.numel() for parameter in decoder.parameters())
    costs = itertools.accumulate(2 * parameters * rows * steps for steps in SAMPLING_STEPS)
    fits = [s for s, cost in zip(SAMPLING_STEPS, costs, strict=True) if cost <= _CPU_BUDGET]
    return tuple(fits) or SAMPLING_STEPS[:1]


def _frame(run: Opened, clip: Clip, number: int) -> Frame:
    stage, batch = run.stage, batch_of(run, clip, number)
    assert stage is not None
    video, p = batch.clips[STUDENT], run.config.model.encoder.patch_size
    visible, masked = stage.mask(batch, stage.attention(batch))
    # Masks without truncation go with no decoder of pixels: the config refuses them.
    assert isinstance(visible, Tensor) and isinstance(masked, Tensor)
    predicted = stage.student(video, visible, masked).predicted
    target = stage.pixel_target(video, masked)
    T, rows, columns = patch_grid(video, p)
    n, t = rows * columns, T // 2
    here = masked[0] // n == t
    pixels = video[0, t : t + 1].cpu().numpy()
    seen = (visible[0][visible[0] // n == t] - t * n).cpu().numpy()
    return Frame(
        title=clip.name,
        pixels=pixels,
        grey=grey_out(pixels, seen, patch_size=p),
        index=(masked[0][here] - t * n).cpu().numpy(),
        z=predicted[0, here],
        target=target[0, here],
        key=batch.keys,
        patch_size=p,
    )


def _singles(decoder: DiffusionDecoder, frame: Frame) -> list[Film]:
    """Draws the target under noise, and the decoder's estimate from it, in turn."""
    films = []
    wide, device = frame.target.dtype, frame.z.device
    for t in NOISE_STEPS:
        number = torch.tensor([t], device=device)
        step = cosine_schedule(device).at(number, wide)
        # Samples take the layers 0 to their number of steps.
        layer, count = STEPS + 1 + t, frame.target.numel()
        noise = normal(frame.key, Purpose.SAMPLING, count, layer=layer, dtype=wide)
        noisy = step.signal_scale * frame.target + step.noise_scale * noise.view_as(frame.target)
        time = decoder.net.time_embed(number, frame.z.dtype)
        found, _ = decoder.net(noisy.to(frame.z.dtype), time, frame.z).to(wide).chunk(2, -1)
        clean = predicted_target(noisy, found, step).clamp(-BRIGHTEST, BRIGHTEST)
        films += [
            frame.drawn(f"noise of step {t}", noisy, judged=False),
            frame.drawn("estimate", clean),
        ]
    return films


def _psnr(found: NDArray, target: NDArray) -> float:
    """Returns the peak signal-to-noise ratio, in dB, of drawn to true patches, both ``[P, D]``."""
    std = np.repeat(np.array(IMAGENET_STD), found.shape[1] // 3)
    error = float(np.mean(((found - target) * std) ** 2))
    return -10 * math.log10(max(error, 1e-10))
