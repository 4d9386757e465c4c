"""Changes a clip's colours, as Pillow changes those of an image.

Clips are uint8 ``[T, H, W, 3]``, T frames of H x W pixels, with the same bits on every device:
integers where Pillow uses them, otherwise one fp32 operation after another, truncated to integers
as in Pillow. Statistics are those of the whole clip, so that all frames are changed alike; for a
clip of one frame the result is Pillow's.
"""

import torch
from torch import Tensor


def brightness(clip: Tensor, factor: float) -> Tensor:
    """Changes brightness: black at factor 0, the clip itself at 1, brighter above."""
    return _blend(torch.zeros((), device=clip.device), clip, factor)


def saturation(clip: Tensor, factor: float) -> Tensor:
    """Changes saturation: grey at factor 0, the clip itself at 1, more colourful above."""
    return _blend(_grey(clip).float(), clip, factor)


def contrast(clip: Tensor, factor: float) -> Tensor:
    """Changes contrast: the mean grey at factor 0, the clip itself at 1, more contrast above."""
    grey = _grey(clip)
    # An integer, as in Pillow; the sum of integers is exact in any order.
    mean = (2 * grey.long().sum() + grey.numel()) // (2 * grey.numel())
    return _blend(mean.float(), clip, factor)


def sharpness(clip: Tensor, factor: float) -> Tensor:
    """Changes sharpness: smoothed at factor 0, the clip itself at 1, sharper above.

    The outermost pixels stay.
    """
    x = clip.short()
    total = 4 * x[:, 1:-1, 1:-1]
    for row in range(3):
        for column in range(3):
            height, width = x.shape[1] - 2, x.shape[2] - 2
            total = total + x[:, row : row + height, column : column + width]
    smooth = x.clone()
    smooth[:, 1:-1, 1:-1] = (total + 6) // 13
    return _blend(smooth.float(), clip, factor)


def hue(clip: Tensor, turn: float) -> Tensor:
    """Turns hues by a share of the circle and keeps value and saturation (HSV)."""
    x = clip.float()
    value, low = x.amax(3), x.amin(3)
    spread = value - low
    red, green, blue = x.unbind(3)
    least = torch.where(spread == 0, 1.0, spread)
    sixths = torch.where(
        value == red,
        (green - blue) / least,
        torch.where(value == green, (blue - red) / least + 2, (red - green) / least + 4),
    )
    turned = sixths + 6 * turn
    # Each channel is the value minus the spread times a trapezium of the distance to its own hue.
    channels = []
    for offset in (5, 3, 1):
        k = (turned + offset).remainder(6)
        channels.append(value - spread * torch.minimum(k, 4 - k).clamp(0, 1))
    return (torch.stack(channels, 3) + 0.5).clamp(0, 255).to(torch.uint8)


def posterize(clip: Tensor, bits: int) -> Tensor:
    """Keeps the highest ``bits``, 0 to 8, of each value."""
    return clip & (256 - (1 << (8 - bits)))


def solarize(clip: Tensor, threshold: float) -> Tensor:
    """Inverts values of ``threshold`` and above."""
    return torch.where(clip >= float(threshold), 255 - clip, clip)


def autocontrast(clip: Tensor) -> Tensor:
    """Stretches each channel to 0 to 255."""
    flat = clip.flatten(0, 2)
    low, high = flat.amin(0).double(), flat.amax(0).double()
    # The numerator is a tensor: torch would multiply a number by the reciprocal.
    scale = torch.full_like(high, 255) / (high - low).clamp(min=1)
    scale = torch.where(high > low, scale, 1.0)[:, None]
    low = torch.where(high > low, low, 0.0)[:, None]
    value = torch.arange(256, device=clip.device, dtype=torch.float64)
    return _looked_up(clip, (value * scale - low * scale).clamp(0, 255).to(torch.uint8))


def equalize(clip: Tensor) -> Tensor:
    """Spreads each channel's values so that all are about equally frequent."""
    flat = clip.flatten(0, 2).long()
    flat = flat + 256 * torch.arange(3, device=clip.device)
    counts = torch.zeros(3 * 256, dtype=torch.int64, device=clip.device)
    counts = counts.scatter_add(0, flat.flatten(), torch.ones_like(flat.flatten())).view(3, 256)
    upto = counts.cumsum(1)
    # The count of the largest value in the clip.
    last = counts.gather(1, clip.flatten(0, 2).amax(0).long()[:, None])
    step = (upto[:, -1:] - last) // 255
    spread = (upto - counts + step // 2) // step.clamp(min=1)
    same = torch.arange(256, device=clip.device)
    return _looked_up(clip, torch.where(step > 0, spread.clamp(0, 255), same).to(torch.uint8))


def _grey(clip: Tensor) -> Tensor:
    """Returns the luma by Pillow's 16-bit weights (ITU-R 601), int32 ``[T, H, W, 1]``."""
    red, green, blue = clip.int().split(1, dim=3)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def _blend(other: Tensor, clip: Tensor, factor: float) -> Tensor:
    """Returns ``other`` at factor 0 and the clip at 1; extrapolates above, and truncates."""
    share = torch.tensor(factor, dtype=torch.float32).item()
    return (other + (clip.float() - other) * share).clamp(0, 255).to(torch.uint8)


def _looked_up(clip: Tensor, table: Tensor) -> Tensor:
    """Replaces each value by that in its channel's row of ``table``, uint8 ``[3, 256]``."""
    index = clip.long() + 256 * torch.arange(3, device=clip.device)
    return table.flatten()[index]
