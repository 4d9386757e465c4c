"""Features of many videos by several encoders; a file is decoded once, or not at all if cached."""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ivn.errors import DataError, DecodeError
from ivn.frozen.encoders import Frozen, Pool, check_finite, pooled_tokens
from ivn.media.source import Source
from ivn.progress import tracked

from .cache import Features, Store, StoredFeatures, default_folder, entry
from .views import AnyView, Shape, read_views

_CLIPS_AT_ONCE = 16

Clips = dict[Shape, Tensor]
Read = tuple[int, Clips | DecodeError]  # number of a source, and its clips or why it has none


@dataclass(frozen=True)
class Unusable:
    """A file that cannot be used, with the reason in one line that names it."""

    path: str
    reason: str


@dataclass
class Extracted:
    """The result of :func:`extract`.

    Attributes:
        features: per encoder, the features in each of its pools.
        kept: numbers of the usable sources, ascending; features are in their order.
        skipped: the unusable files.
        decoded: number of files that were decoded, because the cache lacked some of their features.
        damaged: shards of the cache that could not be read.
    """

    features: list[dict[Pool, Features]]
    kept: list[int]
    skipped: list[Unusable] = field(default_factory=list)
    decoded: int = 0
    damaged: list[Path] = field(default_factory=list)


def extract(
    wanted: Sequence[tuple[Frozen, Sequence[Pool]]],
    sources: Sequence[Source],
    views: Sequence[AnyView],
    *,
    needed: np.ndarray | None = None,
    cache: Path | None = None,
    workers: int,
) -> Extracted:
    """Returns the features of every source in every view, by every encoder, in each of its pools.

    A file is decoded once for all of them, on ``workers`` threads, and not at all if the cache
    holds all its features. Features that were computed are kept, however this ends.

    Args:
        wanted: encoders, and the pools wanted of each.
        sources: the videos.
        views: the views of every video.
        needed: mask of the views needed of each source, bool ``[len(sources), len(views)]``; all
            views without it.
        cache: folder of all features; the user's own without it.
        workers: threads that decode ahead, at least 1.

    Raises:
        DataError: no file can be used, features are not finite, or an encoder has no such pool.
    """
    for frozen, pools in wanted:
        for pool in pools:
            if pool not in frozen.pools:
                raise DataError(
                    f"{frozen.name} has no features {pool!r}, expected one of "
                    f"{', '.join(frozen.pools)}"
                )
    stores = [
        {pool: Store(cache or default_folder(), frozen, pool) for pool in pools}
        for frozen, pools in wanted
    ]
    every = [store for own in stores for store in own.values()]
    needed = np.ones((len(sources), len(views)), bool) if needed is None else needed
    theirs = [[view for view, wanted in zip(views, row, strict=True) if wanted] for row in needed]
    keys = [
        [entry(source, view) for view in own] for source, own in zip(sources, theirs, strict=True)
    ]
    todo = [
        number
        for number, own in enumerate(keys)
        if any(key not in store for key in own for store in every)
    ]
    skipped: dict[int, Unusable] = {}
    batch: list[tuple[int, Clips]] = []
    held = 0

    def compute() -> None:
        for (frozen, pools), own in zip(wanted, stores, strict=True):
            missing = [
                (number, clips)
                for number, clips in batch
                if any(key not in store for key in keys[number] for store in own.values())
            ]
            if missing:
                _compute(frozen, pools, own, missing, keys, sources)
        batch.clear()

    try:
        shapes = [(frozen.spec.frames, frozen.spec.size) for frozen, _ in wanted]
        read = _read(sources, todo, theirs, shapes, workers)
        for number, clips in tracked(read, "features of videos", len(todo), errors=True):
            if isinstance(clips, DecodeError):
                skipped[number] = Unusable(sources[number].path, str(clips))
                continue
            batch.append((number, clips))
            held += len(theirs[number])
            if held >= _CLIPS_AT_ONCE:
                compute()
                held = 0
        compute()
    finally:
        for store in every:
            store.flush()
    kept = [number for number in range(len(sources)) if number not in skipped]
    if not kept:
        reasons = "; ".join(file.reason for file in itertools.islice(skipped.values(), 3))
        raise DataError(f"none of {len(sources)} videos can be used: {reasons}")
    ours = [_by_view(keys[number], needed[number]) for number in kept]
    return Extracted(
        [{pool: StoredFeatures(store, ours) for pool, store in own.items()} for own in stores],
        kept,
        list(skipped.values()),
        decoded=len(todo) - len(skipped),
        damaged=[shard for store in every for shard in store.damaged],
    )


def _by_view(keys: Sequence[str], needed: np.ndarray) -> list[str | None]:
    """Returns one entry per view: its key, or None where the view is not needed."""
    remaining = iter(keys)
    return [next(remaining) if wanted else None for wanted in needed]


def _compute(
    frozen: Frozen,
    pools: Sequence[Pool],
    stores: dict[Pool, Store],
    batch: Sequence[tuple[int, Clips]],
    keys: Sequence[Sequence[str]],
    sources: Sequence[Source],
) -> None:
    shape = frozen.spec.frames, frozen.spec.size
    clips = torch.cat([views[shape] for _, views in batch])
    names = [(number, key) for number, _ in batch for key in keys[number]]
    tokens = frozen.features(clips, "none") if "none" in pools else None
    for pool in pools:
        if tokens is not None and pool in ("none", "frames", "mean"):
            pooled = pooled_tokens(tokens.flatten(1, 2), frozen.slots, pool)
        else:
            pooled = frozen.features(clips, pool)
        for (number, key), features in zip(names, pooled, strict=True):
            check_finite(frozen, features, sources[number].path)
            stores[pool].put(key, features)


def _read(
    sources: Sequence[Source],
    todo: Sequence[int],
    views: Sequence[Sequence[AnyView]],
    shapes: Sequence[Shape],
    workers: int,
) -> Iterator[Read]:
    """Yields the views of each source in turn, or its error; some sources are read ahead."""
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[tuple[int, Future[Clips]]] = deque()
        try:
            for number in todo:
                ahead.append(
                    (number, pool.submit(read_views, sources[number], views[number], shapes))
                )
                if len(ahead) > 2 * workers:
                    yield _result(*ahead.popleft())
            while ahead:
                yield _result(*ahead.popleft())
        finally:
            for _, future in ahead:
                future.cancel()


def _result(number: int, future: "Future[Clips]") -> Read:
    try:
        return number, future.result()
    except DecodeError as error:
        return number, error
