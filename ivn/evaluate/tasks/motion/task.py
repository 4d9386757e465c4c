"""Measures how well a linear readout of frozen features tells ten camera motions apart."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ivn.errors import DataError, DecodeError
from ivn.evaluate.account import ungrouped_lines
from ivn.evaluate.features.extract import Unusable
from ivn.evaluate.linear import FOLDS, check_installed, predict_held_out
from ivn.evaluate.metrics import confusion, per_class, share
from ivn.evaluate.results import Result, ResultRow
from ivn.evaluate.splits import groups_of
from ivn.frozen.encoders import Frozen
from ivn.keys import make_keys
from ivn.media.source import Source

from .clips import MOTIONS, choose_camera
from .features import collect
from .scenes import Picture, keyed_frame

_USER = 2  # repeat of a key: no picture shares another's random numbers
HEAD = "linear"


@dataclass
class Frames:
    """Pictures for a camera to move over: one keyed frame of each video.

    Iterating yields a :class:`Picture` of each usable video; ``skipped`` then has the others.

    Attributes:
        sources: the videos; those of one group are one scene.
        seed: seed of the choice of frames.
        frozen: encoders; frames must be large enough for the clips of each.
        skipped: unusable videos, with reasons.
    """

    sources: Sequence[Source]
    seed: int
    frozen: Sequence[Frozen]
    skipped: list[Unusable] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sources)

    def notes(self) -> list[str]:
        """Returns lines about the list that a user should read."""
        ungrouped = sum(not source.group for source in self.sources)
        return ungrouped_lines(ungrouped, len(self.sources))

    def __iter__(self) -> Iterator[Picture]:
        self.skipped.clear()
        specs = {(encoder.spec.frames, encoder.spec.size) for encoder in self.frozen}
        for number, group in enumerate(groups_of(self.sources)):
            source = self.sources[number]
            key = make_keys(self.seed, 0, [number], repeat=_USER)
            try:
                picture = Picture(keyed_frame(source, key), f"group {group}", "real", key)
                for frames, size in specs:
                    choose_camera(picture, frames=frames, size=size)
            except DecodeError as error:
                self.skipped.append(Unusable(source.path, str(error)))
            except ValueError as error:
                self.skipped.append(Unusable(source.path, f"{source.path}: {error}"))
            else:
                yield picture


def probe_motion(
    frozen: Sequence[Frozen],
    pictures: Iterable[Picture],
    *,
    seed: int,
    baselines: Sequence[Frozen] = (),
) -> Result:
    """Returns how well a linear readout tells ten camera motions apart, encoder by encoder.

    A picture gives ten clips, one per motion, that share their middle frame (:mod:`.clips`). The
    features are those of each time slot, averaged over space, in time order; the readout is
    :func:`ivn.evaluate.linear.predict_held_out`, which judges each clip by a classifier of other
    scenes.

    Args:
        frozen: encoders; each sees the same pictures, in clips of its own size.
        pictures: the pictures that the camera moves over.
        seed: seed of the intervals.
        baselines: further encoders; their rows are marked, and the first encoder is compared with
            each of them.

    Raises:
        DataError: there are too few scenes, or scikit-learn is not installed.
    """
    try:
        check_installed()
    except ImportError as error:
        raise DataError(str(error)) from error
    encoders = [*frozen, *baselines]
    clips = collect(pictures, encoders)
    labels, scenes, kinds = clips.labels, clips.scenes, sorted(set(clips.kinds))
    count = len(np.unique(scenes))
    if count < FOLDS:
        raise DataError(
            f"{count} scenes can be used, expected at least {FOLDS}: give more or larger videos"
        )
    predicted = {
        identity: predict_held_out(features, labels, scenes)
        for identity, features in clips.features.items()
    }
    right = {
        identity: (classes == labels).astype(np.float64) for identity, classes in predicted.items()
    }

    def row(encoder: Frozen) -> ResultRow:
        hits = right[encoder.identity]
        by_kind = {str(kind): float(hits[clips.kinds == kind].mean()) for kind in kinds}
        scores = {"top1": share(hits, scenes, seed=seed), "top5": None}
        extra = {"by_kind": by_kind}
        return ResultRow(encoder.name, HEAD, scores, extra, baseline=encoder in baselines)

    def difference(baseline: Frozen) -> dict[str, Any]:
        """Returns the first encoder's accuracy less the baseline's, on the same clips."""
        gain = right[encoders[0].identity] - right[baseline.identity]
        names = {"encoder": encoders[0].name, "baseline": baseline.name}
        return names | share(gain, scenes, seed=seed).json()

    table = confusion(predicted[encoders[0].identity], labels, len(MOTIONS))
    facts = {
        "label": "camera motion",
        "classes": list(MOTIONS),
        "n": len(labels),
        "groups": count,
        "chance": 1 / len(MOTIONS),
        "majority": 1 / len(MOTIONS),
        "views": {"clips": 1, "crops": 1},
        "kinds": {str(kind): int((clips.kinds == kind).sum()) for kind in kinds},
        "differences": [difference(baseline) for baseline in baselines],
        "confusion": table.tolist(),
        "confusion_of": {"encoder": encoders[0].name, "head": HEAD},
        "per_class": per_class(table, list(MOTIONS)),
        "split": {"kind": "folds", "folds": FOLDS, "seed": seed, "groups": count},
        "notes": [],
    }
    return Result("motion", facts, [row(encoder) for encoder in encoders], encoders)
