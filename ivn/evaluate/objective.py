"""What heads are trained for, and how the points of a grid are judged by it.

Legend: H heads, P points of the grid, n clips, b samples, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.evaluate.metrics import average_precision

_LEAST = 1e-9  # probability, in a cross-entropy


@dataclass(frozen=True)
class Scores:
    """How each point of a grid did on videos that it was not trained on.

    Attributes:
        right: clips told right, fp64 ``[P]``; with several labels a clip, the mean average
            precision times the clips.
        loss: sum of their cross-entropies, fp64 ``[P]``.
        count: clips judged.
    """

    right: np.ndarray
    loss: np.ndarray
    count: int

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(self.right + other.right, self.loss + other.loss, self.count + other.count)

    def best(self) -> int:
        """The point with most told right; of several, that with the least loss."""
        return int(np.lexsort((self.loss, -self.right))[0])


class Objective(ABC):
    """A kind of task."""

    @abstractmethod
    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of every sample for every head, ``[H, b, K] -> [H, b]``."""

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Of every class, ``[H, b, K]``."""

    @abstractmethod
    def judged(self, parts: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        """Of the clips of all parts: probabilities, fp32 ``[P, n, K]``, and labels of each."""


class OneClass(Objective):
    """Each clip is of one class: softmax and cross-entropy; labels are int64 ``[n]``."""

    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.mT, labels.expand(len(logits), -1), reduction="none")

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(2)

    def judged(self, parts: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        return reduce(add, (self._judged(*part) for part in parts))

    @staticmethod
    def _judged(probabilities: Tensor, labels: Tensor) -> Scores:
        right = (probabilities.argmax(2) == labels).double().sum(1)
        own = probabilities.gather(2, labels[None, :, None].expand(len(probabilities), -1, 1))
        loss = -own.double().clamp(min=_LEAST).log().sum((1, 2))
        return Scores(right.numpy(), loss.numpy(), len(labels))


class SeveralLabels(Objective):
    """Each clip has any of the classes: a sigmoid and a binary cross-entropy for each of them.

    Labels are bool ``[n, K]``. The loss of a clip is the sum over the classes.
    """

    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        targets = labels.to(logits.dtype).expand(len(logits), -1, -1)
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(2)

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def judged(self, parts: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        # An average precision ranks all clips together.
        every = list(parts)
        probabilities = torch.cat([found for found, _ in every], 1)
        labels = torch.cat([own for _, own in every])
        once = np.ones((len(labels), 1), np.float32)
        positive, there = labels.numpy(), np.flatnonzero(labels.any(0))
        precision = [
            np.mean([average_precision(one[:, k], positive[:, k], once)[0] for k in there])
            for one in probabilities.numpy()
        ]
        own = torch.where(labels, probabilities, 1 - probabilities).double()
        loss = -own.clamp(min=_LEAST).log().sum((1, 2))
        return Scores(np.array(precision) * len(labels), loss.numpy(), len(labels))


ONE_CLASS, SEVERAL_LABELS = OneClass(), SeveralLabels()
