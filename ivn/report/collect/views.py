"""Draws a clip as a run sees it: its masks, and the attention of its teacher.

Legend: T frames, n tokens of a frame, V visible tokens.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ivn.data.batch import Batch
from ivn.keys import make_keys
from ivn.model.encoder import Encoder
from ivn.model.packed import Index, Packed
from ivn.model.patch import patch_grid
from ivn.report.draw.images import Pixels
from ivn.report.draw.picture import grey_out
from ivn.report.page.content import Film
from ivn.stages.masks import Masking
from ivn.stages.teachers import STUDENT

from .clips import Clip
from .opened import Opened


class Mask(NamedTuple):
    """One mask of a clip: its label, and the visible tokens of the clip, ``[V]``."""

    label: str
    visible: NDArray[np.int64]


class MaskedClip(NamedTuple):
    """A clip as a run sees it: masks, and the teacher's attention ``[T, rows, columns]``."""

    frames: Pixels
    masks: list[Mask]
    attention: NDArray[np.float32] | None


@torch.no_grad()
def masked_clip(run: Opened, clip: Clip, number: int) -> MaskedClip:
    """Returns the masks by the run's own rule and seed for a clip, as the ``number``-th source."""
    stage, batch = run.stage, batch_of(run, clip, number)
    assert stage is not None
    video = batch.clips[STUDENT]
    grid = patch_grid(video, run.config.model.encoder.patch_size)
    heat = stage.attention(batch)
    masks = drawn_masks(stage.masking, stage.encoder, batch, heat)
    frames = video[0].cpu().numpy()
    if not heat.numel() or heat.shape[2] != grid[1] * grid[2]:
        return MaskedClip(frames, masks, None)
    return MaskedClip(frames, masks, heat[0].unflatten(1, grid[1:]).float().cpu().numpy())


def drawn_masks(masking: Masking, encoder: Encoder, batch: Batch, attention: Tensor) -> list[Mask]:
    """Returns each mask of a batch of one clip; see :meth:`ivn.stages.masks.Masking.draw`."""
    return [
        Mask(
            f"visible, view {view + 1}" if masking.views > 1 else "visible",
            _tokens(masking.draw(batch, encoder, attention, view=view)[0]),
        )
        for view in range(masking.views)
    ]


def mask_films(found: MaskedClip, *, patch_size: int, suffix: str) -> list[Film]:
    """Returns a film for each mask of a clip."""
    films = []
    for mask in found.masks:
        share = len(mask.visible) / (found.frames[..., 0].size / patch_size**2)
        seen = grey_out(found.frames, mask.visible, patch_size=patch_size)
        films.append(Film(f"{mask.label}{suffix}", seen, f"{share:.0%} of the tokens"))
    return films


def batch_of(run: Opened, clip: Clip, number: int) -> Batch:
    """Returns a clip as the run's stage takes it, the first of an epoch's ``number``-th source."""
    assert run.stage is not None
    where, data = next(run.stage.parameters()).device, run.config.data
    keys = make_keys(data.seed, 0, [number])
    return Batch(dict(clip.views[run.name]), keys, repeats=data.repeats).to(where)


def _tokens(index: Index) -> NDArray[np.int64]:
    tokens = index.index if isinstance(index, Packed) else index[0]
    return tokens.cpu().numpy()
