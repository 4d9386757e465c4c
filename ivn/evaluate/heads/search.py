"""Chooses a head from a grid without reading test labels, then fits it.

The training videos are split once more, by groups: each point of the grid is judged on videos
that it was not trained on. The chosen point is then fitted to all training videos.

Legend: n clips, P points of the grid, J inner folds that are judged, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ivn.errors import DataError, RequestError
from ivn.evaluate.features.cache import Features
from ivn.evaluate.objective import ONE_CLASS, Objective, Scores
from ivn.evaluate.splits import folds_of
from ivn.frozen.encoders import Frozen, Pool

from .fitted import (
    HEADS,
    NearestReadout,
    NetworkReadout,
    Readout,
    directions,
    votes,
)
from .heads import INNER_FOLDS, Grid, Head, LinearHead, Point
from .training import Training, TrainingSamples, probabilities, standard, train

KS = (1, 5, 10, 20, 50)
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class LabelledFeatures:
    """Labelled features that heads are searched and fitted on.

    Attributes:
        features: features of n clips.
        labels: index of each clip's class, int64 ``[n]``; with several labels per clip bool
            ``[n, K]``.
        groups: group of each clip, ``[n]``.
        classes: number of classes, K.
        views: numbers of the views to train on; heads are judged on the first.
        objective: the objective that fits the labels.
    """

    features: Features
    labels: Tensor
    groups: np.ndarray
    classes: int
    views: Sequence[int]
    objective: Objective = ONE_CLASS

    def samples(self, clips: Tensor) -> TrainingSamples:
        """Returns every training view of ``clips``."""
        return TrainingSamples.of(clips, self.views, self.labels[clips])


class HeadKind(ABC):
    """A kind of head with its grid.

    Attributes:
        name: name of the kind, as users give it.
        points: points of the grid.
    """

    name: str
    points: list[Point]

    @abstractmethod
    def scores(self, data: LabelledFeatures, clips: Tensor) -> Scores:
        """Returns the scores of every point, from the training videos ``clips`` alone."""

    @abstractmethod
    def fitted(self, data: LabelledFeatures, clips: Tensor, point: Point) -> Readout:
        """Returns the head of one point, fitted to ``clips``."""


class NetworkKind(HeadKind):
    """A head that is trained: all points of the grid, for all inner folds, in one pass."""

    def __init__(self, name: str, head: type[Head], grid: Grid, training: Training) -> None:
        self.name, self.points = name, grid.points()
        self._head, self._judges, self._training = head, grid.judges, training

    def scores(self, data: LabelledFeatures, clips: Tensor) -> Scores:
        fold, count = inner_folds(data, clips, seed=self._training.seed), len(self.points)
        judges = range(min(self._judges, int(fold.max()) + 1))
        own = fold.repeat_interleave(len(data.views))
        weights = torch.cat([(own != judge).float().expand(count, -1) for judge in judges])
        stack = self._trained(data, clips, weights, self.points * len(judges))
        total = Scores(np.zeros(count), np.zeros(count), 0)
        for judge in judges:
            held, rows = clips[fold == judge], slice(judge * count, (judge + 1) * count)
            predicted = probabilities(
                stack.head,
                {name: value[rows] for name, value in stack.parameters.items()},
                data.features,
                held,
                data.views[:1],
                standard=stack.standard,
                device=self._training.device,
                objective=data.objective,
            )
            total = total + data.objective.judged([(predicted, data.labels[held])])
        return total

    def fitted(self, data: LabelledFeatures, clips: Tensor, point: Point) -> NetworkReadout:
        return self._trained(data, clips, torch.ones(1, len(clips) * len(data.views)), [point])

    def _trained(
        self, data: LabelledFeatures, clips: Tensor, weights: Tensor, points: Sequence[Point]
    ) -> NetworkReadout:
        """Returns a head for each of ``points``, trained by its row of ``weights``."""
        head = self._head(arranged_shape(self._head, data.features), data.classes)
        samples = data.samples(clips)
        moments = standard(self._head, data.features, samples)
        lr, decay = (torch.tensor([point[name] for point in points]) for name in ("lr", "wd"))
        parameters = train(
            head,
            data.features,
            samples,
            weights,
            lr=lr,
            decay=decay,
            standard=moments,
            training=self._training,
            objective=data.objective,
        )
        return NetworkReadout(head, parameters, moments, data.objective)


class NearestKind(HeadKind):
    """Votes of the nearest neighbours; k is chosen by the votes of other groups' videos."""

    name = "knn"

    def __init__(self, device: str) -> None:
        self.points: list[Point] = [{"k": k} for k in KS]
        self._device = device

    def scores(self, data: LabelledFeatures, clips: Tensor) -> Scores:
        readout, groups = self.fitted(data, clips, self.points[0]), torch.from_numpy(data.groups)
        bank, labels = readout.bank.to(self._device), readout.labels.to(self._device)
        theirs = groups[data.samples(clips).clips].to(self._device)

        def shares(part: Tensor) -> Tensor:
            x = data.features.take(part, torch.full_like(part, data.views[0])).to(self._device)
            cosines = directions(x, readout.standard) @ bank.mT
            own = groups[part].to(self._device)[:, None] == theirs
            cosines[own] = -torch.inf
            return votes(cosines, labels, KS, data.classes).cpu()

        parts = clips.split(_ROWS_AT_ONCE)
        return data.objective.judged((shares(part), data.labels[part]) for part in parts)

    def fitted(self, data: LabelledFeatures, clips: Tensor, point: Point) -> NearestReadout:
        samples = data.samples(clips)
        moments = standard(LinearHead, data.features, samples)
        parts = [
            directions(data.features.take(samples.clips[part], samples.views[part]), moments)
            for part in torch.arange(len(samples)).split(_ROWS_AT_ONCE)
        ]
        return NearestReadout(
            torch.cat(parts), samples.labels, int(point["k"]), data.classes, moments
        )


def kinds(
    names: Sequence[str],
    training: Training,
    *,
    lr: Sequence[float] = (),
    wd: Sequence[float] = (),
) -> list[HeadKind]:
    """Returns the kinds of these names; ``lr`` and ``wd`` replace their grids' own.

    Raises:
        RequestError: there is no such kind, or a rate is negative or not finite.
    """
    if min((*lr, *wd), default=1.0) < 0 or not np.isfinite([*lr, *wd]).all():
        raise RequestError(f"lr {list(lr)}, wd {list(wd)}: expected numbers of at least 0")
    if not names:
        raise RequestError(f"no heads, expected some of {', '.join(sorted(NAMES))}")
    chosen: list[HeadKind] = []
    for name in dict.fromkeys(names):
        if name == "knn":
            chosen.append(NearestKind(training.device))
        elif name in HEADS:
            grid = HEADS[name].grid
            grid = replace(grid, lr=tuple(lr) or grid.lr, wd=tuple(wd) or grid.wd)
            chosen.append(NetworkKind(name, HEADS[name], grid, training))
        else:
            raise RequestError(f"no head {name!r}, expected some of {', '.join(sorted(NAMES))}")
    return chosen


NAMES = ("knn", *HEADS)


def inner_folds(data: LabelledFeatures, clips: Tensor, *, seed: int) -> Tensor:
    """Returns the inner fold of each of ``clips``, int64; no group is in two folds."""
    groups, labels = data.groups[clips], data.labels[clips].numpy()
    if (count := min(INNER_FOLDS, len(np.unique(groups)))) < 2:
        raise DataError(
            "the training videos are 1 group, expected at least 2: heads are fitted to one and "
            "judged on the other"
        )
    return torch.from_numpy(folds_of(groups, labels, count, seed=seed, every_class=False))


def arranged_shape(head: type[Head], features: Features) -> tuple[int, ...]:
    """Returns the shape of one view's features, as this kind of head takes them."""
    return tuple(head.arranged(torch.empty(1, *features.shape, device="meta")).shape[1:])


@dataclass(frozen=True)
class Fitted:
    """A head for use with one encoder.

    Attributes:
        encoder: the encoder whose features it reads.
        head: name of its kind.
        pool: pool of the features that it reads.
        shape: shape of one view's features, as it takes them.
        point: the chosen point of the grid.
        points: all points of the grid.
        validation: accuracy on the training videos that were held out when it was chosen; with
            several labels per video, mean average precision on them.
        clips: number of videos that it was fitted to.
        several: whether a video may have several labels.
        readout: the fitted head itself.
    """

    encoder: Frozen
    head: str
    pool: Pool
    shape: tuple[int, ...]
    point: Point
    points: Sequence[Point]
    validation: float
    clips: int
    several: bool
    readout: Readout
