"""``ivn predict``: the classes of videos by a saved head.

Legend: V views, K classes.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from ivn.data.manifest.listing import list_clips
from ivn.errors import DecodeError
from ivn.evaluate.features.cache import HeldFeatures, compact
from ivn.evaluate.features.views import grid, read_views
from ivn.evaluate.heads.file import SavedHead, load
from ivn.evaluate.options import Predict
from ivn.evaluate.subjects import device_of
from ivn.frozen.encoders import Frozen, check_finite
from ivn.load import load_frozen
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


def run_predict(options: Predict) -> int:
    """Prints the classes of each video; returns 1 if one could not be used, otherwise 0."""
    saved = load(Path(options.head))
    spec = saved.card["encoder"]
    frozen = load_frozen(
        options.encoder or saved.encoder,
        frames=spec["frames"],
        size=spec["size"],
        device=device_of(options),
        **options.sizes.given(),
    )
    saved.check(frozen)
    failed, found = [], []
    for source in [source for video in options.videos for source in list_clips(video)]:
        try:
            found.append(predict(source, saved, frozen))
        except DecodeError as error:
            failed.append(str(error))
    if options.json:
        print(json.dumps([{"path": one.path, "classes": one.classes} for one in found]))
    else:
        for one in found:
            best = list(one.classes.items())[: options.top]
            print(f"{one.path}: " + ", ".join(f"{name} {value:.1%}" for name, value in best))
    for reason in failed:
        print(f"ivn: {reason}", file=sys.stderr)
    return 1 if failed else 0


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
