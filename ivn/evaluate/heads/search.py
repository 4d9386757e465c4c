"""Chooses among a grid of heads without a look at test labels, then fits the one chosen.

The training videos are split once more, by groups: each point of the grid is judged on videos
that it was not trained on. The chosen one is then fitted to all training videos.

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
from .training import Samples, Training, probabilities, standard, train

INNER_FOLDS = 4
KS = (1, 5, 10, 20, 50)
_ROWS_AT_ONCE = 1024

Point = dict[str, float]  # of a grid: "lr" and "wd", or "k"


@dataclass(frozen=True)
class Grid:
    """Learning rates x weight decays, and how many of the inner folds judge them."""

    lr: tuple[float, ...]
    wd: tuple[float, ...]
    judges: int

    def points(self) -> list[Point]:
        """Every pair."""
        return [{"lr": lr, "wd": wd} for lr in self.lr for wd in self.wd]


# Attentive heads have V-JEPA 2's grid. All inner folds judge the linear head, which costs nothing.
_VJEPA2 = Grid((5e-3, 3e-3, 1e-3, 3e-4, 1e-4), (0.01, 0.1, 0.4, 0.8), judges=1)
GRIDS = {
    LinearHead: Grid(
        (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4), (0.01, 0.1, 1.0, 10.0), judges=INNER_FOLDS
    ),
    AttentiveHead: _VJEPA2,
    Attentive4Head: _VJEPA2,
    # From the paper's rates (2e-4 to 1e-3) to the largest scaled by its batch (eight times), and
    # the weight decay of InternVideo2's probing scripts.
    MeanQueryHead: Grid((8e-3, 3e-3, 1e-3, 3e-4, 1e-4), (0.0,), judges=1),
}


@dataclass(frozen=True)
class Task:
    """What is to be learnt.

    Attributes:
        features: of n clips.
        labels: index of each clip's class, int64 ``[n]``; with several labels a clip bool
            ``[n, K]``.
        groups: ``[n]``.
        classes: K.
        views: of the features, those to train on; the first judges.
        objective: that fits the labels.
    """

    features: Features
    labels: Tensor
    groups: np.ndarray
    classes: int
    views: Sequence[int]
    objective: Objective = ONE_CLASS

    def samples(self, clips: Tensor) -> Samples:
        """Every training view of ``clips``."""
        return Samples.of(clips, self.views, self.labels[clips])


class Kind(ABC):
    """A kind of head with its grid.

    Attributes:
        name: of the kind.
        points: of the grid.
    """

    name: str
    points: list[Point]

    @abstractmethod
    def scores(self, task: Task, clips: Tensor) -> Scores:
        """Of every point, by the training videos ``clips`` alone."""

    @abstractmethod
    def fitted(self, task: Task, clips: Tensor, point: Point) -> Readout:
        """The head of one point, fitted to ``clips``."""


class NetworkKind(Kind):
    """Heads that are trained: all points of the grid, for all inner folds, in one pass."""

    def __init__(self, name: str, head: type[Head], grid: Grid, training: Training) -> None:
        self.name, self.points = name, grid.points()
        self._head, self._judges, self._training = head, grid.judges, training

    def scores(self, task: Task, clips: Tensor) -> Scores:
        fold = inner_folds(task, clips, seed=self._training.seed)
        judges = range(min(self._judges, int(fold.max()) + 1))
        samples, head = task.samples(clips), self._of(task)
        moments = standard(self._head, task.features, samples)
        own = fold.repeat_interleave(len(task.views))
        weights = torch.cat(
            [(own != judge).float().expand(len(self.points), -1) for judge in judges]
        )
        lr, decay = (
            torch.tensor([point[name] for _ in judges for point in self.points])
            for name in ("lr", "wd")
        )
        parameters = train(
            head,
            task.features,
            samples,
            weights,
            lr=lr,
            decay=decay,
            standard=moments,
            training=self._training,
            objective=task.objective,
        )
        total = Scores(np.zeros(len(self.points)), np.zeros(len(self.points)), 0)
        for judge in judges:
            held = clips[fold == judge]
            rows = slice(judge * len(self.points), (judge + 1) * len(self.points))
            found = probabilities(
                head,
                {name: value[rows] for name, value in parameters.items()},
                task.features,
                held,
                task.views[:1],
                standard=moments,
                device=self._training.device,
                objective=task.objective,
            )
            total = total + task.objective.judged([(found, task.labels[held])])
        return total

    def fitted(self, task: Task, clips: Tensor, point: Point) -> NetworkReadout:
        samples, head = task.samples(clips), self._of(task)
        moments = standard(self._head, task.features, samples)
        parameters = train(
            head,
            task.features,
            samples,
            torch.ones(1, len(samples)),
            lr=torch.tensor([point["lr"]]),
            decay=torch.tensor([point["wd"]]),
            standard=moments,
            training=self._training,
            objective=task.objective,
        )
        return NetworkReadout(head, parameters, moments, task.objective)

    def _of(self, task: Task) -> Head:
        return self._head(arranged_shape(self._head, task.features), task.classes)


class NearestKind(Kind):
    """The nearest neighbours' votes; k is chosen by the votes of other groups' videos."""

    name = "knn"

    def __init__(self, device: str) -> None:
        self.points: list[Point] = [{"k": k} for k in KS]
        self._device = device

    def scores(self, task: Task, clips: Tensor) -> Scores:
        readout, groups = self.fitted(task, clips, self.points[0]), torch.from_numpy(task.groups)
        bank, labels = readout.bank.to(self._device), readout.labels.to(self._device)
        theirs = groups[task.samples(clips).clips].to(self._device)

        def told(part: Tensor) -> Tensor:
            x = task.features.take(part, torch.full_like(part, task.views[0])).to(self._device)
            cosines = directions(x, readout.standard) @ bank.mT
            own = groups[part].to(self._device)[:, None] == theirs
            cosines[own] = -torch.inf
            return votes(cosines, labels, KS, task.classes).cpu()

        parts = clips.split(_ROWS_AT_ONCE)
        return task.objective.judged((told(part), task.labels[part]) for part in parts)

    def fitted(self, task: Task, clips: Tensor, point: Point) -> NearestReadout:
        samples = task.samples(clips)
        moments = standard(LinearHead, task.features, samples)
        parts = [
            directions(task.features.take(samples.clips[part], samples.views[part]), moments)
            for part in torch.arange(len(samples)).split(_ROWS_AT_ONCE)
        ]
        return NearestReadout(
            torch.cat(parts), samples.labels, int(point["k"]), task.classes, moments
        )


def kinds(
    names: Sequence[str],
    training: Training,
    *,
    lr: Sequence[float] = (),
    wd: Sequence[float] = (),
) -> list[Kind]:
    """The kinds of these names; ``lr`` and ``wd`` take the place of their grids' own.

    Raises:
        RequestError: there is no such kind.
    """
    if min((*lr, *wd), default=1.0) < 0 or not np.isfinite([*lr, *wd]).all():
        raise RequestError(f"lr {list(lr)}, wd {list(wd)}: expected numbers of at least 0")
    if not names:
        raise RequestError(f"no heads, expected some of {', '.join(sorted(NAMES))}")
    found: list[Kind] = []
    for name in dict.fromkeys(names):
        if name == "knn":
            found.append(NearestKind(training.device))
        elif name in HEADS:
            grid = GRIDS[HEADS[name]]
            grid = replace(grid, lr=tuple(lr) or grid.lr, wd=tuple(wd) or grid.wd)
            found.append(NetworkKind(name, HEADS[name], grid, training))
        else:
            raise RequestError(f"no head {name!r}, expected some of {', '.join(sorted(NAMES))}")
    return found


NAMES = ("knn", *HEADS)


def inner_folds(task: Task, clips: Tensor, *, seed: int) -> Tensor:
    """The inner fold of each of ``clips``, by groups, int64."""
    groups, labels = task.groups[clips], task.labels[clips].numpy()
    if (count := min(INNER_FOLDS, len(np.unique(groups)))) < 2:
        raise DataError(
            "the training videos are 1 group, expected at least 2: the heads are chosen by the one "
            "and fitted to the other"
        )
    return torch.from_numpy(folds_of(groups, labels, count, seed=seed, every_class=False))


def arranged_shape(head: type[Head], features: Features) -> tuple[int, ...]:
    """Of one view's features, as this kind of head takes them."""
    return tuple(head.arranged(torch.empty(1, *features.shape, device="meta")).shape[1:])


@dataclass(frozen=True)
class Fitted:
    """A head for use, of one encoder.

    Attributes:
        encoder: that it reads.
        head: its kind.
        pool: the features that it reads.
        shape: of one view's features, as it takes them.
        point: of the grid; ``points`` are all of it.
        validation: share told right of the training videos held out when it was chosen; with
            several labels a video, mean average precision on them.
        clips: videos that it was fitted to.
        several: whether a video may have several labels.
        readout: itself.
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
