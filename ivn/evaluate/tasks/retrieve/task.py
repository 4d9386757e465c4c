"""Retrieves videos of the same class by the cosine of frozen features; nothing is trained.

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
from ivn.evaluate.features.cache import Features
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
_COSINES_AT_ONCE = 2**22  # per array; a few arrays are held


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
    """Returns how often the nearest videos of other groups are of the same class.

    Every video is a query once; the videos of other groups are ranked. ``recall@k`` is the share of
    queries with a video of their class among the k nearest, ``map`` the mean average precision over
    all ranked videos. If videos have several labels, one that shares any with the query is right.
    Features are the mean over views, standardised over all videos.

    Args:
        frozen: encoders.
        sources: labelled videos; those without the label are counted and not used.
        label: name of the label.
        pool: pool of the features; they are flattened if they are no vector.
        clips, crops: views of each video.
        seed: seed of the intervals.
        baselines: further encoders; their rows are marked. An encoder without ``pool`` is read by
            "mean".
        cache: folder of features; the user's own without it.
        workers: threads that decode.

    Raises:
        DataError: the videos, labels or features cannot be used; the message has one line.
    """
    data = labelled(sources, (), label=label)
    views, encoders = grid(clips, crops), [*frozen, *baselines]
    pools = [nearest_pool(each, pool) if each in baselines else pool for each in encoders]
    extracted = extract(
        [(encoder, [own]) for encoder, own in zip(encoders, pools, strict=True)],
        data.sources,
        views,
        cache=cache,
        workers=workers,
    )
    data = data.only(extracted.kept)
    labels, groups = torch.from_numpy(data.labels), torch.from_numpy(data.groups)
    if labels.ndim == 2:
        labels = labels.float()
    ranked, same = _answers(labels, groups)
    queries = (same > 0).nonzero()[:, 0]
    if not len(queries):
        raise DataError(
            f"no video of {len(labels)} has another of its class of {label!r} in another group: "
            "there is nothing to retrieve"
        )
    rows = []
    for encoder, own, features in zip(encoders, pools, extracted.features, strict=True):
        vectors = _vectors(features[own], len(labels), len(views))
        values = _ranked(vectors, labels, groups, queries)
        scores = {
            name: share(value, data.groups[queries], seed=seed) for name, value in values.items()
        }
        # Scores that every task has: the nearest, and one among five.
        scores |= {"top1": scores["recall1"], "top5": scores["recall5"]}
        extra = {"pool": own}
        rows.append(
            ResultRow(encoder.name, "cosine", {**scores}, extra, baseline=encoder in baselines)
        )
    pairs = list(zip(ranked[queries].tolist(), same[queries].tolist(), strict=True))
    facts = {
        "label": label,
        "classes": data.classes,
        "n": len(queries),
        "groups": len(np.unique(data.groups[queries])),
        "gallery": len(labels),
        "unasked": len(labels) - len(queries),
        "chance": _chance(pairs, 1),
        "chance_recall": {str(k): _chance(pairs, k) for k in RANKS},
        "majority": None,
        "views": {"clips": clips, "crops": crops},
        "pool": pool,
        "split": {"kind": "other groups answer", "seed": seed},
        **data.account.facts("one that shares any with the query is right"),
    }
    return Result("retrieve", facts, rows, encoders, extracted.skipped)


def _answers(labels: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Returns each video's number of videos of other groups, and of its class among them, ``[n]``.

    Args:
        labels: index of each video's class, int64 ``[n]``; or 1 for each of its classes, fp32
            ``[n, K]``.
        groups: group of each video, ``[n]``.
    """
    others = len(groups) - groups.bincount()[groups]
    if labels.ndim == 2:
        parts = torch.arange(len(labels)).split(max(1, _COSINES_AT_ONCE // len(labels)))
        shared = [
            (_relevant(labels, part) & (groups[part][:, None] != groups)).sum(1) for part in parts
        ]
        return others, torch.cat(shared)
    _, pair, own = torch.unique(
        torch.stack([groups, labels]), dim=1, return_inverse=True, return_counts=True
    )
    return others, labels.bincount()[labels] - own[pair]


def _relevant(labels: Tensor, queries: Tensor) -> Tensor:
    """Returns which videos are of each query's class, or share a label with it, bool ``[q, n]``."""
    if labels.ndim == 1:
        return labels[queries][:, None] == labels
    return labels[queries] @ labels.mT > 0


def _vectors(features: Features, n: int, views: int) -> Tensor:
    """Returns the mean over views of standardised features, of length 1, ``[n, D]``."""
    clips = torch.arange(n)
    moments = standard(
        LinearHead, features, TrainingSamples.of(clips, range(views), torch.zeros_like(clips))
    )
    parts = []
    for part in clips.split(_QUERIES_AT_ONCE):
        taken = [features.take(part, torch.full_like(part, view)) for view in range(views)]
        parts.append(torch.stack([moments(view.flatten(1)) for view in taken]).mean(0))
    return F.normalize(torch.cat(parts), dim=1)


def _ranked(
    vectors: Tensor, labels: Tensor, groups: Tensor, every_query: Tensor
) -> dict[str, np.ndarray]:
    """Returns recall at each rank and average precision of each query, float64."""
    scores: dict[str, list[Tensor]] = {name: [] for name in (*(f"recall{k}" for k in RANKS), "map")}
    for queries in every_query.split(
        max(1, min(_QUERIES_AT_ONCE, _COSINES_AT_ONCE // len(labels)))
    ):
        cosines = vectors[queries] @ vectors.mT
        cosines[groups[queries][:, None] == groups] = -torch.inf
        order = cosines.argsort(dim=1, descending=True, stable=True)
        # Videos of the query's own group come last.
        ranked = groups[queries][:, None] != groups[order]
        hit = (_relevant(labels, queries).gather(1, order) & ranked).double()
        for k in RANKS:
            scores[f"recall{k}"].append(hit[:, :k].amax(1))
        precision = hit.cumsum(1) / torch.arange(1, hit.shape[1] + 1)
        scores["map"].append((precision * hit).sum(1) / hit.sum(1))
    return {name: torch.cat(parts).numpy() for name, parts in scores.items()}


def _chance(pairs: Sequence[tuple[int, int]], k: int) -> float:
    """Returns recall at ``k`` in random order; a pair is a query's ranked videos and right ones."""
    missed = [
        comb(ranked - right, k) / comb(ranked, k) if ranked >= k else 0.0 for ranked, right in pairs
    ]
    return 1 - sum(missed) / len(missed)
