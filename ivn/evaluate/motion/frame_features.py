"""Frozen features: one vector a frame, in time order, for whatever looks at clips or at frames.

Legend: B clips, T frames, N tokens, C width, F frames of any clips, D width of the teacher.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ivn.data.crop import centre_clip
from ivn.frozen import Teacher


@torch.no_grad()
def clip_features(
    encoder: Callable[[Tensor], Tensor], clips: Tensor, *, clips_at_once: int = 4
) -> Tensor:
    """Tokens of clips averaged over space, ``[B, T, C]``, on the CPU in fp32.

    Args:
        encoder: in evaluation mode, from uint8 ``[B, T, H, W, 3]`` to tokens ``[B, N, C]``,
            time-major, as many of each frame.
        clips: uint8 ``[B, T, H, W, 3]``.
        clips_at_once: clips a pass, to bound memory and stay in a CPU's cache.
    """
    frames = clips.shape[1]
    parts = [encoder(part) for part in clips.split(clips_at_once)]
    return torch.cat([part.unflatten(1, (frames, -1)).mean(2).float().cpu() for part in parts])


def frame_features(teacher: Teacher, frames: Tensor) -> Tensor:
    """The teacher's pooled vector of each frame by itself, ``[F, D]``, on the CPU in fp32.

    Args:
        teacher: frozen.
        frames: uint8 ``[F, H, H, 3]``; resized to what the teacher takes, so that it sees the
            pixels that an encoder sees.
    """
    video = centre_clip(frames, teacher.image_size)[None]
    return teacher(video, layers=False, attention=False).pooled[0].float().cpu()
