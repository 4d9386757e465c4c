"""Objectives of heads: the loss that they are trained by, and the scores of a grid's points.

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

_LEAST = 1e-9  # smallest probability in a cross-entropy


@dataclass(frozen=True)
class Scores:
    """Scores of the points of a grid on videos that they were not trained on.

    Attributes:
        right: clips predicted correctly, fp64 ``[P]``; with several labels per clip, the mean
            average precision times the number of clips.
        loss: sum of the clips' cross-entropies, fp64 ``[P]``.
        count: number of clips.
    """

    right: np.ndarray
    loss: np.ndarray
    count: int

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(self.right + other.right, self.loss + other.loss, self.count + other.count)

    def best(self) -> int:
        """Returns the point with the most correct clips; of several, that of the least loss."""
        return int(np.lexsort((self.loss, -self.right))[0])


class Objective(ABC):
    """A loss, the probabilities that go with it, and the score by which heads are chosen."""

    @abstractmethod
    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the loss of every sample for every head, ``[H, b, K] -> [H, b]``."""

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Returns the probability of every class, ``[H, b, K]``."""

    @abstractmethod
    def judged(self, parts: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        """Returns the scores of every point.

        Args:
            parts: parts of the clips: their probabilities, fp32 ``[P, n, K]``, and their labels.
        """


class OneClass(Objective):
    """The objective of one class per clip: softmax and cross-entropy; labels are int64 ``[n]``."""

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
    """The objective of several labels per clip: a sigmoid and a binary cross-entropy per class.

    Labels are bool ``[n, K]``. The loss of a clip is the sum over the classes.
    """

    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        targets = labels.to(logits.dtype).expand(len(logits), -1, -1)
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(2)

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def judged(self, parts: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        # An average precision ranks all clips together.
        predicted, labelled = zip(*parts, strict=True)
        probabilities, labels = torch.cat(predicted, 1), torch.cat(labelled)
        once = np.ones((len(labels), 1), np.float32)
        positive, present = labels.numpy(), np.flatnonzero(labels.any(0))
        precision = [
            np.mean([average_precision(point[:, k], positive[:, k], once)[0] for k in present])
            for point in probabilities.numpy()
        ]
        own = torch.where(labels, probabilities, 1 - probabilities).double()
        loss = -own.clamp(min=_LEAST).log().sum((1, 2))
        return Scores(np.array(precision) * len(labels), loss.numpy(), len(labels))


ONE_CLASS, SEVERAL_LABELS = OneClass(), SeveralLabels()
