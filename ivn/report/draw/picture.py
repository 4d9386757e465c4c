"""Draws clips as one picture: visible patches, the decoder's reconstruction, and features.

Legend: T frames, H x W pixels, p side of a patch in pixels, N = T * rows *
columns tokens in raster order (time, then rows, then columns), V visible, P predicted, C features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.report.draw.images import Pixels

Floats = NDArray[np.floating]
Index = NDArray[np.integer]

# Light grey, since a mid grey looks like a road or a wall.
MASKED = 222
SHOWN_FRAMES = 4

_INK, _FAINT, _PAPER = (24, 24, 27), (113, 113, 122), (255, 255, 255)
_MARGIN, _GAP, _CLIP_GAP = 24, 4, 28


@dataclass(frozen=True)
class ClipView:
    """The arrays of one clip.

    Attributes:
        title: one short line of text.
        frames: frames, uint8 ``[T, H, W, 3]``.
        visible_index: tokens that the encoder sees, ``[V]``.
        predicted_index: tokens that the decoder predicts, ``[P]``.
        predicted: their pixels, float ``[P, 3 * p * p]``, ImageNet-normalised, in (c, row, column)
            order.
        features: name -> float ``[N, C]``; each name is a row of the picture, in this order.
    """

    title: str
    frames: Pixels
    visible_index: Index
    predicted_index: Index
    predicted: Floats
    features: dict[str, Floats] = field(default_factory=dict)


def demo_picture(
    clips: Sequence[ClipView],
    *,
    title: str,
    subtitle: str = "",
    patch_size: int = 14,
    num_frames: int = SHOWN_FRAMES,
    side: int = 112,
) -> Image.Image:
    """Returns a picture of clips side by side: frames, visible patches, reconstruction, features.

    Args:
        clips: clips, at least one, all with the same names of features.
        title, subtitle: lines of text above the clips.
        patch_size: side p of a patch, in pixels.
        num_frames: number of frames of each clip, evenly spaced.
        side: height of a frame in the picture, in pixels.
    """
    names = list(clips[0].features) if clips else []
    if not clips or any(list(clip.features) != names for clip in clips):
        raise ValueError(
            f"clips have features {[list(clip.features) for clip in clips]}, expected at least one "
            "clip and the same names for all"
        )
    labels = ["frames", "visible", "reconstruction", *names]
    lines = [(_MARGIN - 4, title, _INK, _font(22)), (_MARGIN + 28, subtitle, _FAINT, _font(14))]
    font, small = _font(15), _font(12)
    left = _MARGIN + round(max(map(font.getlength, labels))) + _CLIP_GAP
    top, step = _MARGIN + 62 + 44, side + _GAP
    shown = [shown_frames(len(clip.frames), num_frames) for clip in clips]
    sizes = [(round(side * clip.frames.shape[2] / clip.frames.shape[1]), side) for clip in clips]
    widths = [len(t) * (w + _GAP) - _GAP for t, (w, _) in zip(shown, sizes, strict=True)]
    right = left + sum(widths) + _CLIP_GAP * (len(clips) - 1)
    right = max([right, *(_MARGIN + round(face.getlength(text)) for _, text, _, face in lines)])
    bottom = top + len(labels) * step - _GAP
    picture = Image.new("RGB", (right + _MARGIN, bottom + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(picture)
    for y, text, colour, face in lines:
        draw.text((_MARGIN, y), text, fill=colour, font=face)
    for number, label in enumerate(labels):
        place = (_MARGIN, top + number * step + side // 2)
        draw.text(place, label, fill=_INK, font=font, anchor="lm")
    for clip, frames, size, width in zip(clips, shown, sizes, widths, strict=True):
        draw.text((left, top - 44), _shortened(clip.title, font, width), fill=_INK, font=font)
        rows = clip_rows(clip, patch_size=patch_size)
        for column, t in enumerate(frames):
            x = left + column * (size[0] + _GAP)
            number_line = f"frame {t}" if small.getlength(f"frame {t}") <= size[0] else str(t)
            draw.text((x, top - 22), number_line, fill=_FAINT, font=small)
            for number, row in enumerate(rows):
                picture.paste(_tile(row[t], size), (x, top + number * step))
        left += width + _CLIP_GAP
    return picture


def shown_frames(T: int, num_frames: int = SHOWN_FRAMES) -> Index:
    """Returns the frames of a clip in :func:`demo_picture`, ascending."""
    return np.unique(np.linspace(0, T - 1, num_frames).round().astype(int))


def clip_rows(clip: ClipView, *, patch_size: int = 14) -> list[Pixels]:
    """Returns the rows of one clip: three ``[T, H, W, 3]``, then ``[T, rows, columns, 3]``."""
    grid = token_grid(clip.frames, patch_size)
    drawn = paste_patches(
        grey_out(clip.frames, clip.visible_index, patch_size=patch_size),
        clip.predicted,
        clip.predicted_index,
        patch_size=patch_size,
    )
    colours = []
    for name, tokens in clip.features.items():
        if tokens.ndim != 2 or len(tokens) != np.prod(grid):
            raise ValueError(
                f"features {name!r} of {clip.title!r} are {list(tokens.shape)}, expected "
                f"[{np.prod(grid)}, C]: one row a token of the grid {grid}"
            )
        colours.append(pca_colours(tokens).reshape(*grid, 3))
    seen = grey_out(clip.frames, clip.visible_index, patch_size=patch_size)
    return [clip.frames, seen, drawn, *colours]


def pca_colours(tokens: Floats) -> Pixels:
    """Returns the first three principal components of ``[N, C]`` features as RGB, ``[N, 3]``.

    Each is stretched from its 1st to its 99th percentile. Its sign is chosen so that the token
    furthest from the mean is bright: a rotation of the features changes no colour. A component
    without variance is mid grey.
    """
    if not np.isfinite(tokens).all():
        raise ValueError("features are not all finite; look at the losses of the run")
    centred = tokens.astype(np.float64)
    centred -= centred.mean(0)
    scores, sizes = _leading(centred, 3)
    colours = np.full((len(tokens), 3), 128, np.uint8)
    least = max(1e-6 * np.abs(tokens).max(), 1e-5 * sizes.max(initial=0.0))
    for channel in np.flatnonzero(sizes > least):
        score = scores[:, channel]
        score = score * np.sign(score[np.abs(score).argmax()])
        low, high = np.percentile(score, [1, 99])
        if high > low:
            colours[:, channel] = np.rint(255 * ((score - low) / (high - low)).clip(0, 1))
    return colours


def _leading(centred: NDArray[np.float64], count: int) -> tuple[NDArray, NDArray]:
    """Returns the leading principal components of ``[N, C]``: scores ``[N, k]`` and their sizes.

    The sizes are singular values. They come from the smaller of the two Gram matrices, in a tenth
    of the time of a singular value decomposition; values below 1e-6 of the largest are rounding.
    """
    N, C = centred.shape
    values, vectors = np.linalg.eigh(centred.T @ centred if C <= N else centred @ centred.T)
    vectors = vectors[:, ::-1][:, :count]
    sizes = np.sqrt(values[::-1][:count].clip(0))
    return (centred @ vectors if C <= N else vectors), sizes


def grey_out(frames: Pixels, visible_index: Index, *, patch_size: int) -> Pixels:
    """Returns ``[T, H, W, 3]`` with all patches grey but those at ``visible_index``."""
    patches = np.full_like(_to_patches(frames, patch_size), MASKED)
    patches[visible_index] = _to_patches(frames, patch_size)[visible_index]
    return _to_frames(patches, frames.shape, patch_size)


def paste_patches(frames: Pixels, rows: Floats, index: Index, *, patch_size: int) -> Pixels:
    """Returns ``frames`` with the patches at ``index`` replaced, ``[T, H, W, 3]``.

    Args:
        frames: frames, uint8 ``[T, H, W, 3]``.
        rows: pixels of the patches, ``[P, 3 * p * p]``, ImageNet-normalised, in (c, row, column)
            order.
        index: tokens of the patches, ``[P]``.
        patch_size: side p of a patch, in pixels.
    """
    expected = (len(index), 3 * patch_size**2)
    if rows.shape != expected:
        raise ValueError(f"rows are {list(rows.shape)}, expected {list(expected)}")
    patches = _to_patches(frames, patch_size)
    pixels = rows.reshape(-1, 3, patch_size, patch_size).transpose(0, 2, 3, 1).astype(np.float64)
    pixels = 255 * (pixels * IMAGENET_STD + IMAGENET_MEAN)
    patches[index] = np.rint(pixels.clip(0, 255)).astype(np.uint8)
    return _to_frames(patches, frames.shape, patch_size)


def token_grid(frames: Pixels, patch_size: int) -> tuple[int, int, int]:
    """Returns the numbers of frames, rows and columns of the tokens of ``[T, H, W, 3]``."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise ValueError(
            f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 [T, H, W, 3]"
        )
    T, H, W = frames.shape[:3]
    if H % patch_size or W % patch_size:
        raise ValueError(f"frames are {H} x {W} pixels, expected multiples of {patch_size}")
    return T, H // patch_size, W // patch_size


def _to_patches(frames: Pixels, p: int) -> Pixels:
    """Returns a copy of ``[T, H, W, 3]`` as ``[N, p, p, 3]``."""
    T, rows, columns = token_grid(frames, p)
    return frames.reshape(T, rows, p, columns, p, 3).swapaxes(2, 3).reshape(-1, p, p, 3).copy()


def _to_frames(patches: Pixels, shape: tuple[int, ...], p: int) -> Pixels:
    T, H, W = shape[:3]
    return patches.reshape(T, H // p, W // p, p, p, 3).swapaxes(2, 3).reshape(shape)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ValueError(
            "this Pillow was built without FreeType: pip install --force-reinstall pillow"
        )
    return font


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Returns ``text``, shortened with dots where it is wider than ``width`` pixels."""
    short = text
    while short and font.getlength(short if short == text else short + "...") > width:
        short = short[:-1]
    return text if short == text else short.rstrip() + "..."


def _tile(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    """Returns ``[h, w, 3]`` at ``size``; coarse maps keep hard edges, frames are resampled."""
    coarse = pixels.shape[0] * 4 <= size[1]
    method = Image.Resampling.NEAREST if coarse else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize(size, method)
