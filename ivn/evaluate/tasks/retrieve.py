"""Videos of the same class, found by the cosine of frozen features; nothing is trained.

Legend: n clips, V views, D features, K classes.
"""

from collections.abc import Sequence
from math import comb
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.errors import DataError
from ivn.evaluate.dataset import labelled
from ivn.evaluate.features.cache import Features, default_folder
from ivn.evaluate.features.extract import extract
from ivn.evaluate.features.views import grid
from ivn.evaluate.heads.heads import LinearHead
from ivn.evaluate.heads.training import TrainingSamples, standard
from ivn.evaluate.metrics import share
from ivn.evaluate.results import Result, ResultRow
from ivn.frozen.encoders import Frozen, Pool, nearest_pool
from ivn.media.source import Source

RANKS = (1, 5, 10)
_QUERIES_AT_ONCE = 256
_COSINES_AT_ONCE = 2**22  # of which a few arrays are held


def retrieve(
    frozen: Sequence[Frozen],
    sources: Sequence[Source],
    *,
    label: str = "label",
    pool: Pool = "mean",
    clips: int = 1,
    crops: int = 1,
    seed: int = 0,
    baselines: Sequence[Frozen] = (),
    cache: Path | None = None,
    workers: int = 2,
) -> Result:
    """How often the nearest videos of other groups are of the same class.

    Every video asks once; those of its own group do not answer. ``recall@k`` is the share of
    queries with one of their class among the k nearest, ``map`` the mean average precision over all
    answers. Where videos have several labels, one that shares any with the query is right.
    Features are the mean over views, standardised over all videos.

    Args:
        frozen: encoders.
        sources: labelled videos; those without the label are left out and counted.
        label: which label.
        pool: which features; flattened where they are no vector.
        clips, crops: views of each video.
        seed: of the intervals.
        baselines: further encoders; their rows are marked. One without ``pool`` is read by "mean".
        cache: folder of features; the user's own without it.
        workers: threads that decode.

    Raises:
        DataError: the videos, labels or features do not serve; in a line.
    """
    data = labelled(sources, (), label=label)
    views, every = grid(clips, crops), [*frozen, *baselines]
    pools = [nearest_pool(one, pool) if one in baselines else pool for one in every]
    extracted = extract(
        [(one, [own]) for one, own in zip(every, pools, strict=True)],
        data.sources,
        views,
        cache=cache or default_folder(),
        workers=workers,
    )
    data = data.only(extracted.kept)
    labels, groups = torch.from_numpy(data.labels), torch.from_numpy(data.groups)
    if labels.ndim == 2:
        labels = labels.float()
    answers, same = _answers(labels, groups)
    asked = (same > 0).nonzero()[:, 0]
    if not len(asked):
        raise DataError(
            f"no video of {len(labels)} has another of its class of {label!r} in another group: "
            "there is nothing to find"
        )
    rows = []
    for one, own, features in zip(every, pools, extracted.features, strict=True):
        vectors = _vectors(features[own], len(labels), len(views))
        found = _ranked(vectors, labels, groups, asked)
        scores = {
            name: share(values, data.groups[asked], seed=seed) for name, values in found.items()
        }
        # What every probe has: the nearest, and one among five.
        scores |= {"top1": scores["recall1"], "top5": scores["recall5"]}
        rows.append(
            ResultRow(one.name, "cosine", {**scores}, {"pool": own}, baseline=one in baselines)
        )
    pairs = list(zip(answers[asked].tolist(), same[asked].tolist(), strict=True))
    facts = {
        "label": label,
        "classes": data.classes,
        "n": len(asked),
        "groups": len(np.unique(data.groups[asked])),
        "gallery": len(labels),
        "unasked": len(labels) - len(asked),
        "chance": _chance(pairs, 1),
        "chance_recall": {str(k): _chance(pairs, k) for k in RANKS},
        "majority": None,
        "views": {"clips": clips, "crops": crops},
        "pool": pool,
        "split": {"kind": "other groups answer", "seed": seed},
        **data.account.facts("one that shares any with the query is right"),
    }
    return Result("retrieve", facts, rows, every, extracted.skipped)


def _answers(labels: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """How many videos of other groups there are for each, and how many of its class, ``[n]``.

    Args:
        labels: index of each video's class, int64 ``[n]``; or 1 for those that it has, fp32
            ``[n, K]``.
        groups: ``[n]``.
    """
    others = len(groups) - groups.bincount()[groups]
    if labels.ndim == 2:
        parts = torch.arange(len(labels)).split(max(1, _COSINES_AT_ONCE // len(labels)))
        shared = [
            (_alike(labels, some) & (groups[some][:, None] != groups)).sum(1) for some in parts
        ]
        return others, torch.cat(shared)
    _, place, own = torch.unique(
        torch.stack([groups, labels]), dim=1, return_inverse=True, return_counts=True
    )
    return others, labels.bincount()[labels] - own[place]


def _alike(labels: Tensor, queries: Tensor) -> Tensor:
    """Whether each query is of the class of each video, or shares a label, bool ``[q, n]``."""
    if labels.ndim == 1:
        return labels[queries][:, None] == labels
    return labels[queries] @ labels.mT > 0


def _vectors(features: Features, n: int, views: int) -> Tensor:
    """Of length 1, ``[n, D]``."""
    clips = torch.arange(n)
    moments = standard(
        LinearHead, features, TrainingSamples.of(clips, range(views), torch.zeros_like(clips))
    )
    parts = []
    for some in clips.split(_QUERIES_AT_ONCE):
        seen = [features.take(some, torch.full_like(some, view)) for view in range(views)]
        parts.append(torch.stack([moments(one.flatten(1)) for one in seen]).mean(0))
    return F.normalize(torch.cat(parts), dim=1)


def _ranked(
    vectors: Tensor, labels: Tensor, groups: Tensor, asked: Tensor
) -> dict[str, np.ndarray]:
    """Recall at each rank and average precision of each query, float64."""
    found: dict[str, list[Tensor]] = {name: [] for name in (*(f"recall{k}" for k in RANKS), "map")}
    for queries in asked.split(max(1, min(_QUERIES_AT_ONCE, _COSINES_AT_ONCE // len(labels)))):
        cosines = vectors[queries] @ vectors.mT
        cosines[groups[queries][:, None] == groups] = -torch.inf
        order = cosines.argsort(dim=1, descending=True, stable=True)
        # Those of the own group come last.
        there = groups[queries][:, None] != groups[order]
        hit = (_alike(labels, queries).gather(1, order) & there).double()
        for k in RANKS:
            found[f"recall{k}"].append(hit[:, :k].amax(1))
        precision = hit.cumsum(1) / torch.arange(1, hit.shape[1] + 1)
        found["map"].append((precision * hit).sum(1) / hit.sum(1))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def _chance(pairs: Sequence[tuple[int, int]], k: int) -> float:
    """Recall at ``k`` of answers in random order, over (answers, right ones) of each query."""
    missed = [
        comb(answers - right, k) / comb(answers, k) if answers >= k else 0.0
        for answers, right in pairs
    ]
    return 1 - sum(missed) / len(missed)
