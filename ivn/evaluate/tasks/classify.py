"""Classes of videos from frozen features, judged on videos of other sources.

Legend: n clips, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

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
from ivn.evaluate.features.cache import default_folder
from ivn.evaluate.features.extract import extract
from ivn.evaluate.features.views import AnyView, grid, training_views
from ivn.evaluate.heads.fitted import HEADS
from ivn.evaluate.heads.heads import LinearHead
from ivn.evaluate.heads.search import Fitted, HeadKind, Labelled, arranged_shape, kinds
from ivn.evaluate.heads.training import Training
from ivn.evaluate.objective import SEVERAL_LABELS, Scores
from ivn.evaluate.results import Result, ResultRow
from ivn.evaluate.scores import by_class, guesses, row_scores
from ivn.frozen.encoders import Frozen, Pool, nearest_pool
from ivn.media.source import Source
from ivn.progress import tracked


@dataclass
class Classified(Result):
    """A result, with what belongs to each of its rows.

    Attributes:
        heads: for use.
        best: which of them did best when it was chosen, baselines left aside.
        tested: the videos that were judged.
        told: probabilities of their classes, float32 ``[n, K]``.
    """

    heads: Sequence[Fitted] = ()
    best: int = 0
    tested: Sequence[Source] = ()
    told: Sequence[np.ndarray] = ()


def classify(
    frozen: Sequence[Frozen],
    sources: Sequence[Source],
    *,
    test: Sequence[Source] = (),
    label: str = "label",
    heads: Sequence[str] = ("linear", "knn"),
    pool: Pool = "mean",
    tokens: Pool = "none",
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
    """How well heads on frozen features tell the classes of videos from other sources.

    Without ``test``, videos are split into folds by what belongs together
    (:mod:`ivn.evaluate.splits`): each fold is judged by heads of the others, or with ``holdout``
    one fold alone is. Test labels choose nothing: see :mod:`ivn.evaluate.heads.search`. Where any
    video has several labels, parted by ";", each label is told by itself, and rows have ``map``,
    the mean average precision, instead of ``top1``.

    >>> result = classify([ivn.load_frozen("run1")], list_clips("clips.csv"), heads=["linear"])
    >>> result.rows[0].scores["top1"].value

    Args:
        frozen: encoders; all are judged on the same split.
        sources: labelled videos; those without the label are left out and counted.
        test: videos to judge by, instead of folds; of none of the training groups.
        label: which label.
        heads: some of "linear", "knn", "attentive", "attentive4", "meanquery".
        pool: features that linear and knn read; flattened where they are no vector.
        tokens: features that the heads with attention read: "none" for all tokens, "frames" for
            their mean over space.
        clips, crops: views of each tested video, whose probabilities are averaged.
        train_views: views of each training video: the central one, and random ones.
        folds: of the split.
        holdout: judge by one fold alone.
        lr, wd: of the grid, instead of the kind's own.
        training: of the heads.
        seed: of the split, the heads, random views and intervals.
        baselines: further encoders; their rows are marked. One without ``pool`` or ``tokens`` is
            read by "mean".
        cache: folder of features; the user's own without it.
        workers: threads that decode.

    Raises:
        DataError: the videos, labels or features do not serve; in a line.
    """
    training = training or Training(seed=seed)
    found = kinds(heads, training, lr=lr, wd=wd)
    data = labelled(sources, test, label=label)
    check_classes(data)
    split_of(data, folds=folds, holdout=holdout, seed=seed)  # before minutes of work
    views, learn, judge = _views(training_views(train_views, seed=seed), grid(clips, crops))
    every = [*frozen, *baselines]
    pools = [
        {
            kind.name: _pool_of(kind, pool, tokens, one if one in baselines else None)
            for kind in found
        }
        for one in every
    ]
    wanted = [
        (one, list(dict.fromkeys(own.values()))) for one, own in zip(every, pools, strict=True)
    ]
    extracted = extract(
        wanted,
        data.sources,
        views,
        needed=_needed(data, len(views), learn, judge),
        cache=cache or default_folder(),
        workers=workers,
    )
    data = usable(data, extracted)
    check_classes(data)
    splits = split_of(data, folds=folds, holdout=holdout, seed=seed)
    tested = torch.cat([test for _, test in splits])
    labels, groups = data.labels[tested], data.groups[tested]
    rows, fitted, told = [], [], []
    pairs = list(product(zip(every, pools, extracted.features, strict=True), found))
    for (one, theirs, features), kind in tracked(pairs, "heads", len(pairs), errors=True):
        own = theirs[kind.name]
        task = Labelled(
            features[own],
            torch.from_numpy(data.labels),
            data.groups,
            len(data.classes),
            learn,
            data.objective,
        )
        probabilities, head = _run(kind, task, splits, judge, one, own, training.device)
        fitted.append(head)
        told.append(probabilities)
        scores = row_scores(probabilities, labels, groups, seed=seed)
        chosen = {**head.point, "validation": head.validation, "pool": own}
        rows.append(ResultRow(one.name, kind.name, scores, chosen, baseline=one in baselines))
    best = max(range(len(found) * len(frozen)), key=lambda row: fitted[row].validation)
    facts = {
        "label": label,
        "classes": data.classes,
        "n": len(labels),
        "groups": len(np.unique(groups)),
        **guesses(data, splits, labels),
        "views": {"clips": clips, "crops": crops, "train": train_views},
        "pool": pool,
        "tokens": tokens,
        **by_class(told[best], labels, data.classes, of=rows[best]),
        "split": described(data, splits, folds=folds, holdout=holdout, seed=seed),
        **data.account.facts(),
    }
    return Classified(
        "classify",
        facts,
        rows,
        every,
        extracted.skipped,
        heads=fitted,
        best=best,
        tested=[data.sources[clip] for clip in tested],
        told=told,
    )


def _run(
    kind: HeadKind,
    task: Labelled,
    splits: Sequence[Split],
    views: Sequence[int],
    encoder: Frozen,
    pool: Pool,
    device: str,
) -> tuple[np.ndarray, Fitted]:
    """Probabilities of all tested clips, and the head for use.

    With one split that head is the one that was judged. With several it is fitted to all clips,
    at the point of the grid that did best over the inner splits of all.
    """
    found: list[Tensor] = []
    total: Scores | None = None
    for train, test in splits:
        scores = kind.scores(task, train)
        total = scores if total is None else total + scores
        clips, point = train, kind.points[scores.best()]
        readout = kind.fitted(task, train, point)
        found.append(readout.probabilities(task.features, test, views, device=device))
    assert total is not None
    best = total.best()
    if len(splits) > 1:
        clips, point = torch.cat([test for _, test in splits]).sort().values, kind.points[best]
        readout = kind.fitted(task, clips, point)
    validation = float(total.right[best] / total.count)
    shape = arranged_shape(HEADS.get(kind.name, LinearHead), task.features)
    fitted = Fitted(
        encoder,
        kind.name,
        pool,
        shape,
        point,
        kind.points,
        validation,
        len(clips),
        task.objective is SEVERAL_LABELS,
        readout,
    )
    return torch.cat(found).numpy(), fitted


def _views(learn: Sequence[AnyView], judge: Sequence[AnyView]) -> tuple[list[AnyView], Any, Any]:
    """All views, each once, and where those to learn from and to judge by are among them."""
    every = list(dict.fromkeys([*learn, *judge]))
    return every, [every.index(view) for view in learn], [every.index(view) for view in judge]


def _needed(data: Data, views: int, learn: Sequence[int], judge: Sequence[int]) -> np.ndarray:
    """Which views of each video anything looks at, bool ``[n, views]``."""
    needed = np.zeros((len(data.sources), views), bool)
    needed[:, learn] = needed[:, judge] = True
    if data.tests:
        needed[:] = False
        needed[: -data.tests, learn] = needed[-data.tests :, judge] = True
    return needed


def _pool_of(kind: HeadKind, pool: Pool, tokens: Pool, baseline: Frozen | None) -> Pool:
    own = pool if kind.name in ("linear", "knn") else tokens
    return own if baseline is None else nearest_pool(baseline, own)
