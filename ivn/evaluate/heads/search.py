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
from .heads import Attentive4Head, AttentiveHead, Head, LinearHead
from .meanquery import MeanQueryHead
from .training import Training, TrainingSamples, probabilities, standard, train

INNER_FOLDS = 4
KS = (1, 5, 10, 20, 50)
_ROWS_AT_ONCE = 1024

Point = dict[str, float]  # a point of a grid: "lr" and "wd", or "k"


@dataclass(frozen=True)
class Grid:
    """Learning rates x weight decays, and the number of inner folds that judge them."""

    lr: tuple[float, ...]
    wd: tuple[float, ...]
    judges: int

    def points(self) -> list[Point]:
        """Returns every pair."""
        return [{"lr": lr, "wd": wd} for lr in self.lr for wd in self.wd]


# Attentive heads have V-JEPA 2's grid. All inner folds judge the linear head, which is cheap.
_VJEPA2 = Grid((5e-3, 3e-3, 1e-3, 3e-4, 1e-4), (0.01, 0.1, 0.4, 0.8), judges=1)
GRIDS = {
    LinearHead: Grid(
        (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4), (0.01, 0.1, 1.0, 10.0), judges=INNER_FOLDS
    ),
    AttentiveHead: _VJEPA2,
    Attentive4Head: _VJEPA2,
    # Rates from the paper's (2e-4 to 1e-3) to eight times the largest (the scale of its batch), and
    # the weight decay of InternVideo2's probing scripts.
    MeanQueryHead: Grid((8e-3, 3e-3, 1e-3, 3e-4, 1e-4), (0.0,), judges=1),
}


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
        fold = inner_folds(data, clips, seed=self._training.seed)
        judges = range(min(self._judges, int(fold.max()) + 1))
        samples, head = data.samples(clips), self._head_of(data)
        moments = standard(self._head, data.features, samples)
        own = fold.repeat_interleave(len(data.views))
        weights = torch.cat(
            [(own != judge).float().expand(len(self.points), -1) for judge in judges]
        )
        lr, decay = (
            torch.tensor([point[name] for _ in judges for point in self.points])
            for name in ("lr", "wd")
        )
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
        total = Scores(np.zeros(len(self.points)), np.zeros(len(self.points)), 0)
        for judge in judges:
            held = clips[fold == judge]
            rows = slice(judge * len(self.points), (judge + 1) * len(self.points))
            predicted = probabilities(
                head,
                {name: value[rows] for name, value in parameters.items()},
                data.features,
                held,
                data.views[:1],
                standard=moments,
                device=self._training.device,
                objective=data.objective,
            )
            total = total + data.objective.judged([(predicted, data.labels[held])])
        return total

    def fitted(self, data: LabelledFeatures, clips: Tensor, point: Point) -> NetworkReadout:
        samples, head = data.samples(clips), self._head_of(data)
        moments = standard(self._head, data.features, samples)
        parameters = train(
            head,
            data.features,
            samples,
            torch.ones(1, len(samples)),
            lr=torch.tensor([point["lr"]]),
            decay=torch.tensor([point["wd"]]),
            standard=moments,
            training=self._training,
            objective=data.objective,
        )
        return NetworkReadout(head, parameters, moments, data.objective)

    def _head_of(self, data: LabelledFeatures) -> Head:
        return self._head(arranged_shape(self._head, data.features), data.classes)


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
            grid = GRIDS[HEADS[name]]
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
