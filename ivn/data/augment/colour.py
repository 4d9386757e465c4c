"""Changes of a clip's colours, as Pillow has them for an image.

T frames of H x W pixels, uint8 ``[T, H, W, 3]`` in and out, on any device with the same bits:
integers where Pillow has them, else fp32 by one operation after another, cut to whole numbers as it
cuts. What depends on the pixels' statistics takes them over the whole clip, so that a colour is
changed alike in all frames: on one frame it is Pillow's.
"""

import torch
from torch import Tensor


def brightness(clip: Tensor, factor: float) -> Tensor:
    """Black at 0, the clip at 1, brighter above."""
    return _blend(torch.zeros((), device=clip.device), clip, factor)


def saturation(clip: Tensor, factor: float) -> Tensor:
    """Grey at 0, the clip at 1, more colourful above."""
    return _blend(_grey(clip).float(), clip, factor)


def contrast(clip: Tensor, factor: float) -> Tensor:
    """The mean grey at 0, the clip at 1, more contrast above."""
    grey = _grey(clip)
    # Whole, as the mean of Pillow is: its sum is exact in any order.
    mean = (2 * grey.long().sum() + grey.numel()) // (2 * grey.numel())
    return _blend(mean.float(), clip, factor)


def sharpness(clip: Tensor, factor: float) -> Tensor:
    """Smoothed at 0, the clip at 1, sharper above; the outermost pixels stay."""
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
    """Hues turned by a share of the circle, lightness and saturation (of HSV) kept."""
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
    # Each channel is the value less the spread, times how far its own hue is, as a trapezium.
    channels = []
    for place in (5, 3, 1):
        k = (turned + place).remainder(6)
        channels.append(value - spread * torch.minimum(k, 4 - k).clamp(0, 1))
    return (torch.stack(channels, 3) + 0.5).clamp(0, 255).to(torch.uint8)


def posterize(clip: Tensor, bits: int) -> Tensor:
    """The highest ``bits`` of each value, 0 to 8."""
    return clip & (256 - (1 << (8 - bits)))


def solarize(clip: Tensor, threshold: float) -> Tensor:
    """Values of ``threshold`` and above turned to their negative."""
    return torch.where(clip >= float(threshold), 255 - clip, clip)


def autocontrast(clip: Tensor) -> Tensor:
    """Each channel stretched to 0 to 255."""
    flat = clip.flatten(0, 2)
    low, high = flat.amin(0).double(), flat.amax(0).double()
    # A tensor above the line: a number there would be multiplied by the reciprocal.
    scale = torch.full_like(high, 255) / (high - low).clamp(min=1)
    scale = torch.where(high > low, scale, 1.0)[:, None]
    low = torch.where(high > low, low, 0.0)[:, None]
    value = torch.arange(256, device=clip.device, dtype=torch.float64)
    return _looked_up(clip, (value * scale - low * scale).clamp(0, 255).to(torch.uint8))


def equalize(clip: Tensor) -> Tensor:
    """Each channel's values spread so that all are about as frequent."""
    flat = clip.flatten(0, 2).long()
    flat = flat + 256 * torch.arange(3, device=clip.device)
    counts = torch.zeros(3 * 256, dtype=torch.int64, device=clip.device)
    counts = counts.scatter_add(0, flat.flatten(), torch.ones_like(flat.flatten())).view(3, 256)
    upto = counts.cumsum(1)
    # Of the largest value that is there.
    last = counts.gather(1, clip.flatten(0, 2).amax(0).long()[:, None])
    step = (upto[:, -1:] - last) // 255
    spread = (upto - counts + step // 2) // step.clamp(min=1)
    same = torch.arange(256, device=clip.device)
    return _looked_up(clip, torch.where(step > 0, spread.clamp(0, 255), same).to(torch.uint8))


def _grey(clip: Tensor) -> Tensor:
    """Luma by Pillow's weights (ITU-R 601) in 16 bits, int32 ``[T, H, W, 1]``."""
    red, green, blue = clip.int().split(1, dim=3)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def _blend(other: Tensor, clip: Tensor, factor: float) -> Tensor:
    """``other`` at 0, the clip at 1, beyond that further on; cut to whole numbers from above."""
    share = torch.tensor(factor, dtype=torch.float32).item()
    return (other + (clip.float() - other) * share).clamp(0, 255).to(torch.uint8)


def _looked_up(clip: Tensor, table: Tensor) -> Tensor:
    """Each channel through its row of ``table``, uint8 ``[3, 256]``."""
    index = clip.long() + 256 * torch.arange(3, device=clip.device)
    return table.flatten()[index]
