"""Classifies videos by heads on frozen features, judged on videos of other groups.

Legend: n clips, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import add
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ivn.evaluate.dataset import (
    Data,
    Split,
    check_classes,
    described,
    labelled,
    split_of,
    usable,
)
from ivn.evaluate.features.extract import extract
from ivn.evaluate.features.views import AnyView, grid, training_views
from ivn.evaluate.heads.fitted import HEADS
from ivn.evaluate.heads.heads import LinearHead
from ivn.evaluate.heads.search import Fitted, HeadKind, LabelledFeatures, arranged_shape, kinds
from ivn.evaluate.heads.training import Training
from ivn.evaluate.objective import SEVERAL_LABELS
from ivn.evaluate.results import Result, ResultRow
from ivn.evaluate.scores import by_class, guesses, row_scores
from ivn.frozen.encoders import Frozen, Pool, nearest_pool
from ivn.media.source import Source
from ivn.progress import tracked


@dataclass
class Classified(Result):
    """A result of :func:`classify`, with the heads and predictions of its rows.

    Attributes:
        heads: the head of each row, for use.
        best: number of the head that scored best when it was chosen, baselines excluded.
        tested: the videos that were judged.
        predicted: each row's probabilities of their classes, float32 ``[n, K]``.
    """

    heads: Sequence[Fitted] = ()
    best: int = 0
    tested: Sequence[Source] = ()
    predicted: Sequence[np.ndarray] = ()


def classify(
    frozen: Sequence[Frozen],
    sources: Sequence[Source],
    *,
    test: Sequence[Source] = (),
    label: str = "label",
    heads: Sequence[str] = ("linear", "knn"),
    pool: Pool = "mean",
    tokens: Literal["all", "frames"] = "all",
    clips: int = 1,
    crops: int = 1,
    train_views: int = 1,
    folds: int = 5,
    holdout: bool = False,
    lr: Sequence[float] = (),
    wd: Sequence[float] = (),
    training: Training | None = None,
    seed: int = 0,
    baselines: Sequence[Frozen] = (),
    cache: Path | None = None,
    workers: int = 2,
) -> Classified:
    """Returns how well heads on frozen features predict the classes of videos of other groups.

    Without ``test``, videos are split by their groups into folds (:mod:`ivn.evaluate.splits`): each
    fold is judged by heads of the others, or with ``holdout`` one fold alone is. Test labels choose
    nothing: see :mod:`ivn.evaluate.heads.search`. If any video has several labels, separated by
    ";", each label is predicted by itself, and rows have ``map``, the mean average precision,
    instead of ``top1``.

    >>> result = classify([ivn.load_frozen("run1")], list_clips("clips.csv"), heads=["linear"])
    >>> result.rows[0].scores["top1"].value

    Args:
        frozen: encoders; all are judged on the same split.
        sources: labelled videos; those without the label are counted and not used.
        test: videos to judge by, instead of folds; none is of a training group.
        label: name of the label.
        heads: some of "linear", "knn", "attentive", "attentive4", "meanquery".
        pool: features that linear and knn read; they are flattened if they are no vector.
        tokens: features that the heads with attention read: "all" tokens, or "frames" for their
            mean over space.
        clips, crops: views of each tested video, whose probabilities are averaged.
        train_views: views of each training video: the central one, and random ones.
        folds: number of folds of the split.
        holdout: judge by one fold alone.
        lr, wd: learning rates and weight decays of the grid, instead of the kind's own.
        training: the schedule of the heads' training.
        seed: seed of the split, the heads, random views and intervals.
        baselines: further encoders; their rows are marked. An encoder without ``pool`` or
            ``tokens`` is read by "mean".
        cache: folder of features; the user's own without it.
        workers: threads that decode.

    Raises:
        DataError: the videos, labels or features cannot be used; the message has one line.
    """
    training = training or Training(seed=seed)
    head_kinds = kinds(heads, training, lr=lr, wd=wd)
    data = labelled(sources, test, label=label)
    check_classes(data)
    split_of(data, folds=folds, holdout=holdout, seed=seed)  # before minutes of work
    views, learn, judge = _views(training_views(train_views, seed=seed), grid(clips, crops))
    encoders = [*frozen, *baselines]
    pools = [
        {
            kind.name: _pool_of(kind, pool, tokens, encoder if encoder in baselines else None)
            for kind in head_kinds
        }
        for encoder in encoders
    ]
    wanted = [
        (encoder, list(dict.fromkeys(own.values())))
        for encoder, own in zip(encoders, pools, strict=True)
    ]
    extracted = extract(
        wanted,
        data.sources,
        views,
        needed=_needed(data, len(views), learn, judge),
        cache=cache,
        workers=workers,
    )
    data = usable(data, extracted)
    check_classes(data)
    splits = split_of(data, folds=folds, holdout=holdout, seed=seed)
    tested = torch.cat([test for _, test in splits])
    labels, groups = data.labels[tested], data.groups[tested]
    rows, fitted, predicted = [], [], []
    pairs = list(product(zip(encoders, pools, extracted.features, strict=True), head_kinds))
    for (encoder, theirs, features), kind in tracked(pairs, "heads", len(pairs), errors=True):
        own = theirs[kind.name]
        labelled_features = LabelledFeatures(
            features[own],
            torch.from_numpy(data.labels),
            data.groups,
            len(data.classes),
            learn,
            data.objective,
        )
        probabilities, head = _run(
            kind, labelled_features, splits, judge, encoder, own, training.device
        )
        fitted.append(head)
        predicted.append(probabilities)
        scores = row_scores(probabilities, labels, groups, seed=seed)
        chosen = {**head.point, "validation": head.validation, "pool": own}
        rows.append(
            ResultRow(encoder.name, kind.name, scores, chosen, baseline=encoder in baselines)
        )
    best = max(range(len(head_kinds) * len(frozen)), key=lambda row: fitted[row].validation)
    facts = {
        "label": label,
        "classes": data.classes,
        "n": len(labels),
        "groups": len(np.unique(groups)),
        **guesses(data, splits, labels),
        "views": {"clips": clips, "crops": crops, "train": train_views},
        "pool": pool,
        "tokens": tokens,
        **by_class(predicted[best], labels, data.classes, of=rows[best]),
        "split": described(data, splits, folds=folds, holdout=holdout, seed=seed),
        **data.account.facts(),
    }
    return Classified(
        "classify",
        facts,
        rows,
        encoders,
        extracted.skipped,
        heads=fitted,
        best=best,
        tested=[data.sources[clip] for clip in tested],
        predicted=predicted,
    )


def _run(
    kind: HeadKind,
    data: LabelledFeatures,
    splits: Sequence[Split],
    views: Sequence[int],
    encoder: Frozen,
    pool: Pool,
    device: str,
) -> tuple[np.ndarray, Fitted]:
    """Returns the probabilities of all tested clips, and the head for use.

    With one split that head is the one that was judged. With several it is fitted to all clips,
    at the point of the grid that scored best over the inner splits of all.
    """
    predicted: list[Tensor] = []
    scores = [kind.scores(data, train) for train, _ in splits]
    for (train, test), own in zip(splits, scores, strict=True):
        clips, point = train, kind.points[own.best()]
        readout = kind.fitted(data, clips, point)
        predicted.append(readout.probabilities(data.features, test, views, device=device))
    total = reduce(add, scores)
    best = total.best()
    if len(splits) > 1:
        clips, point = torch.cat([test for _, test in splits]).sort().values, kind.points[best]
        readout = kind.fitted(data, clips, point)
    validation = float(total.right[best] / total.count)
    shape = arranged_shape(HEADS.get(kind.name, LinearHead), data.features)
    fitted = Fitted(
        encoder,
        kind.name,
        pool,
        shape,
        point,
        kind.points,
        validation,
        len(clips),
        data.objective is SEVERAL_LABELS,
        readout,
    )
    return torch.cat(predicted).numpy(), fitted


def _views(learn: Sequence[AnyView], judge: Sequence[AnyView]) -> tuple[list[AnyView], Any, Any]:
    """Returns all views, each once, and the numbers of those to learn from and to judge by."""
    every = list(dict.fromkeys([*learn, *judge]))
    return every, [every.index(view) for view in learn], [every.index(view) for view in judge]


def _needed(data: Data, views: int, learn: Sequence[int], judge: Sequence[int]) -> np.ndarray:
    """Returns which views of each video are used, bool ``[n, views]``."""
    needed = np.zeros((len(data.sources), views), bool)
    needed[:, learn] = needed[:, judge] = True
    if data.tests:
        needed[:] = False
        needed[: -data.tests, learn] = needed[-data.tests :, judge] = True
    return needed


def _pool_of(kind: HeadKind, pool: Pool, tokens: str, baseline: Frozen | None) -> Pool:
    """Returns the pool that heads of a kind read; a baseline may have to take its nearest."""
    every: Pool = "none" if tokens == "all" else "frames"
    own = pool if kind.name in ("linear", "knn") else every
    return own if baseline is None else nearest_pool(baseline, own)
