"""Features with a known answer, and encoders that give them."""

import torch

from ivn.data.batch import ClipSpec
from ivn.evaluate.features.cache import HeldFeatures
from ivn.evaluate.heads.search import LabelledFeatures
from ivn.frozen.encoders import Frozen, pooled_tokens


def task(features, labels, groups, *, views=(0,)):
    """Of ``features [n, V, ...]``."""
    classes = int(labels.max()) + 1
    return LabelledFeatures(HeldFeatures(features), labels, groups.numpy(), classes, views)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def in_the_mean(n, classes, width=32, margin=8.0):
    """Vectors ``[n, 1, width]`` whose classes are far apart, and their labels."""
    labels = torch.arange(n) % classes
    centres = torch.linalg.qr(draw(width, width))[0][:classes] * margin
    return (centres[labels] + draw(n, width, seed=1))[:, None], labels


def in_one_token(n, tokens=64, width=32, strength=7.0):
    """Tokens of noise, but for one, anywhere, that has a mark and beside it the class.

    ``[n, 1, 4, tokens / 4, width]`` and two labels. In the mean the class is a 64th of itself.
    """
    labels = torch.arange(n) % 2
    x = draw(n, tokens, width)
    place = torch.randint(0, tokens, (n,), generator=torch.Generator().manual_seed(2))
    x[torch.arange(n), place] = 0.0
    x[torch.arange(n), place, 0] = 3 * strength
    x[torch.arange(n), place, 1] = strength * (2.0 * labels - 1)
    return x.view(n, 1, 4, tokens // 4, width), labels


def in_a_pair(n, width=32):
    """Two tokens, each one of two words; the class is whether they are alike (exclusive or).

    A linear readout of their mean sees a sum of what each says alone, of which alike and unlike
    pairs have the same share.
    """
    words = torch.randint(0, 2, (n, 2), generator=torch.Generator().manual_seed(3))
    labels = (words[:, 0] != words[:, 1]).long()
    centres = torch.linalg.qr(draw(width, width))[0] * 4
    x = torch.stack([centres[words[:, 0]], centres[2 + words[:, 1]]], 1)
    return (x + 0.1 * draw(n, 2, width, seed=4)).view(n, 1, 1, 2, width), labels


class Brightness(Frozen):
    """Tokens are the colours of four corners of each frame; it counts the clips that it saw."""

    def __init__(self, name="brightness", *, frames=2, size=16, bias=0.0):
        super().__init__(
            name,
            ClipSpec(frames, size),
            slots=frames,
            width=3,
            pools=("none", "frames", "mean"),
            clips_at_once=8,
        )
        self.bias, self.seen = bias, 0

    def _features(self, clips, pool):
        self.seen += len(clips)
        half = self.spec.size // 2
        cells = clips.float().unflatten(2, (2, half)).unflatten(4, (2, half)).mean((3, 5))
        return pooled_tokens(cells.flatten(1, 3) / 255 + self.bias, self.slots, pool)

    def _sizes(self):
        return {"bias": self.bias}

    def _state(self):
        return {}


class Pooled(Brightness):
    """With a pooling head: the colours of the first frame's first corner."""

    def __init__(self, name):
        super().__init__(name)
        self.pools = (*self.pools, "attn")

    def _features(self, clips, pool):
        if pool == "attn":
            return super()._features(clips, "none")[:, 0, 0]
        return super()._features(clips, pool)
