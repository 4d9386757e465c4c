"""Predicts the classes of a video by a saved head.

Legend: V views, K classes.
"""

from dataclasses import dataclass

import torch

from ivn.evaluate.features.cache import HeldFeatures, compact
from ivn.evaluate.features.views import grid, read_views
from ivn.evaluate.heads.file import SavedHead
from ivn.frozen.encoders import Frozen, check_finite
from ivn.media.source import Source


@dataclass(frozen=True)
class Prediction:
    """The classes of a video, as a head predicts them.

    Attributes:
        path: path of the video.
        classes: name -> probability, the most probable first.
    """

    path: str
    classes: dict[str, float]


def predict(source: Source, head: SavedHead, frozen: Frozen) -> Prediction:
    """Returns the probability of every class, from the views that the head was judged with.

    Raises:
        DecodeError: the video cannot be used.
        DataError: its features are not finite.
    """
    shape = frozen.spec.frames, frozen.spec.size
    views = grid(head.card["views"]["clips"], head.card["views"]["crops"])
    clips = read_views(source, views, [shape])[shape]
    features = frozen.features(clips, head.pool)
    check_finite(frozen, features, source.path)
    kept = torch.stack([compact(view, head.pool).float() for view in features])
    probabilities = head.readout.probabilities(
        HeldFeatures(kept[None]), torch.tensor([0]), range(len(views))
    )[0]
    order = probabilities.argsort(descending=True, stable=True).tolist()
    return Prediction(source.path, {head.classes[k]: float(probabilities[k]) for k in order})
