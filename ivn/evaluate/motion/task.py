"""Ten camera motions by a linear readout of frozen features, encoder by encoder."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ivn.errors import DataError, DecodeError
from ivn.evaluate.account import ungrouped_lines
from ivn.evaluate.features.extract import Skipped
from ivn.evaluate.linear import FOLDS, check_installed, predict_held_out
from ivn.evaluate.metrics import confusion, per_class, share
from ivn.evaluate.results import Result, Row
from ivn.evaluate.splits import groups_of
from ivn.frozen.encoders import Frozen
from ivn.keys import Purpose, make_keys
from ivn.media.decode import decode
from ivn.media.source import Source
from ivn.ops.random import random_words

from .clips import MOTIONS, choose_view
from .features import collect_frozen
from .scenes import Picture

_FRAME_LAYER = 1  # of Purpose.MOTION, as for the bundled clips
_USER = 2  # repeat of a key: no picture shares another's random numbers
HEAD = "linear"


@dataclass
class Frames:
    """One keyed frame of each video, for a camera to move over.

    Iterating gives a :class:`Picture` of each that serves; the others are in ``skipped`` after.

    Args:
        sources: the videos; those that belong together are one scene.
        seed: of the choice of frames.
        frozen: encoders, for whose clips the frames have to be large enough.
    """

    sources: Sequence[Source]
    seed: int
    frozen: Sequence[Frozen]
    skipped: list[Skipped] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sources)

    def notes(self) -> list[str]:
        """What a user should know of the list, in lines."""
        return ungrouped_lines(sum(not one.group for one in self.sources), len(self.sources))

    def __iter__(self) -> Iterator[Picture]:
        self.skipped.clear()
        specs = {(one.spec.frames, one.spec.size) for one in self.frozen}
        for number, group in enumerate(groups_of(self.sources)):
            source = self.sources[number]
            key = make_keys(self.seed, 0, [number], repeat=_USER)
            word = int(random_words(key, Purpose.MOTION, 1, layer=_FRAME_LAYER))
            try:
                picture = Picture(_frame(source, word), f"group {group}", "real", key)
                for frames, size in specs:
                    choose_view(picture, frames=frames, size=size)
            except DecodeError as error:
                self.skipped.append(Skipped(source.path, str(error)))
            except ValueError as error:
                self.skipped.append(Skipped(source.path, f"{source.path}: {error}"))
            else:
                yield picture


def probe_motion(
    frozen: Sequence[Frozen],
    pictures: Iterable[Picture],
    *,
    seed: int,
    baselines: Sequence[Frozen] = (),
) -> Result:
    """How well a linear readout tells ten motions of a camera, each judged on other scenes.

    A picture gives ten clips, one a motion, that share their middle frame
    (:mod:`ivn.evaluate.motion.clips`). The features are those of each time slot, averaged over
    space, in order; the readout is that of :func:`ivn.evaluate.linear.predict_held_out`.

    Args:
        frozen: encoders; each sees the same pictures, in clips of its own size.
        pictures: what the camera moves over.
        seed: of the intervals.
        baselines: further encoders; their rows are marked.

    Raises:
        DataError: there are too few scenes, or scikit-learn is not installed.
    """
    try:
        check_installed()
    except ImportError as error:
        raise DataError(str(error)) from error
    every = [*frozen, *baselines]
    samples = collect_frozen(pictures, every)
    count = len(np.unique(samples.scenes))
    if count < FOLDS:
        raise DataError(
            f"{count} scenes that serve, expected at least {FOLDS}: give more videos or larger ones"
        )
    labels, rows, tables = samples.labels, [], []
    for one in every:
        told = predict_held_out(samples.features[one.identity], labels, samples.scenes)
        right = (told == labels).astype(np.float64)
        kinds = {
            str(kind): float(right[samples.kinds == kind].mean()) for kind in set(samples.kinds)
        }
        scores = {"top1": share(right, samples.scenes, seed=seed), "top5": None}
        rows.append(Row(one.name, HEAD, scores, {"by_kind": kinds}, baseline=one in baselines))
        tables.append(confusion(told, labels, len(MOTIONS)))
    facts = {
        "label": "camera motion",
        "classes": list(MOTIONS),
        "n": len(labels),
        "groups": count,
        "chance": 1 / len(MOTIONS),
        "majority": 1 / len(MOTIONS),
        "views": {"clips": 1, "crops": 1},
        "kinds": {str(kind): int((samples.kinds == kind).sum()) for kind in set(samples.kinds)},
        "confusion": tables[0].tolist(),
        "confusion_of": {"encoder": rows[0].encoder, "head": HEAD},
        "per_class": per_class(tables[0], list(MOTIONS)),
        "split": {"kind": "folds", "folds": FOLDS, "seed": seed, "groups": count},
        "notes": [],
    }
    return Result("motion", facts, rows, every)


def _frame(source: Source, word: int) -> np.ndarray:
    """The frame at ``word / 2**32`` of the video, uint8 ``[H, W, 3]``."""
    return decode(source, lambda total: [word * total >> 32])[0].numpy()
