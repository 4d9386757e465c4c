"""Fitted heads: the classes of clips from their features.

Legend: n clips, V views, b samples, K classes, m training samples, D features.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.evaluate.features.cache import Features
from ivn.evaluate.objective import ONE_CLASS, Objective

from .heads import Attentive4Head, AttentiveHead, Head, LinearHead
from .meanquery import MeanQueryHead
from .training import Standard, probabilities

TEMPERATURE = 0.07
_ROWS_AT_ONCE = 1024

HEADS: dict[str, type[Head]] = {
    "linear": LinearHead,
    "attentive": AttentiveHead,
    "attentive4": Attentive4Head,
    "meanquery": MeanQueryHead,
}


class Readout(ABC):
    """A fitted head."""

    @abstractmethod
    def probabilities(
        self, features: Features, clips: Tensor, views: Sequence[int], *, device: str = "cpu"
    ) -> Tensor:
        """Returns each class's probability, averaged over ``views``, fp32 ``[len(clips), K]``."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Tensors of the head, by name."""


@dataclass(frozen=True)
class NetworkReadout(Readout):
    """A trained network.

    Attributes:
        head: the kind of head.
        parameters: name -> tensor of this one head, ``[1, ...]``.
        standard: the standardisation that features go through first.
        objective: the objective of its training, which defines probabilities.
    """

    head: Head
    parameters: Mapping[str, Tensor]
    standard: Standard
    objective: Objective = ONE_CLASS

    def probabilities(
        self, features: Features, clips: Tensor, views: Sequence[int], *, device: str = "cpu"
    ) -> Tensor:
        return probabilities(
            self.head,
            self.parameters,
            features,
            clips,
            views,
            standard=self.standard,
            device=device,
            objective=self.objective,
        )[0]

    def state(self) -> dict[str, Tensor]:
        moments = {"mean": self.standard.mean, "deviation": self.standard.deviation}
        return {f"standard.{name}": value for name, value in moments.items()} | {
            f"head.{name}": value[0].contiguous() for name, value in self.parameters.items()
        }


@dataclass(frozen=True)
class NearestReadout(Readout):
    """The k nearest training samples vote, each with ``exp(cosine / 0.07)`` (Wu et al. 2018).

    Attributes:
        bank: features of the training samples, standardised, of length 1, ``[m, D]``.
        labels: int64 ``[m]``, or bool ``[m, K]``: a neighbour votes for all of its labels.
        k: number of samples that vote.
        classes: number of classes, K.
        standard: the standardisation that features go through first: encoders without a last norm
            have a few large channels, which would dominate the cosine.
    """

    bank: Tensor
    labels: Tensor
    k: int
    classes: int
    standard: Standard

    def probabilities(
        self, features: Features, clips: Tensor, views: Sequence[int], *, device: str = "cpu"
    ) -> Tensor:
        bank, labels = self.bank.to(device), self.labels.to(device)
        out = torch.zeros(len(clips), self.classes)
        for view in views:
            for part in torch.arange(len(clips)).split(_ROWS_AT_ONCE):
                x = features.take(clips[part], torch.full_like(part, view)).to(device)
                cosines = directions(x, self.standard) @ bank.mT
                share = votes(cosines, labels, (self.k,), self.classes)[0]
                out[part] += share.cpu() / len(views)
        return out

    def state(self) -> dict[str, Tensor]:
        return {
            "bank": self.bank,
            "labels": self.labels,
            "standard.mean": self.standard.mean,
            "standard.deviation": self.standard.deviation,
        }


def directions(features: Tensor, standard: Standard) -> Tensor:
    """Returns standardised features as vectors of length 1, ``[b, ...] -> [b, D]``."""
    return F.normalize(standard(features.flatten(1)), dim=1)


def votes(cosines: Tensor, labels: Tensor, ks: Sequence[int], classes: int) -> Tensor:
    """Returns each class's share of the votes of the nearest samples, ``[len(ks), b, K]``.

    Args:
        cosines: cosine to each training sample, ``[b, m]``; a sample at minus infinity has no vote.
        labels: labels of the training samples, int64 ``[m]``, or bool ``[m, K]``: a sample votes
            for each of its labels.
        ks: numbers of samples that vote; all samples vote where there are fewer.
        classes: number of classes, K.
    """
    near, index = cosines.topk(min(max(ks), cosines.shape[1]), dim=1)
    # The largest cosine is subtracted: only ratios matter.
    weight = ((near - near[:, :1].clamp(min=-1)) / TEMPERATURE).exp()
    voted = labels[index]
    out = []
    for k in ks:
        if labels.ndim == 1:
            share = torch.zeros(len(cosines), classes, device=cosines.device)
            share.scatter_add_(1, voted[:, :k], weight[:, :k])
        else:
            share = torch.einsum("bk,bkc->bc", weight[:, :k], voted[:, :k].to(weight.dtype))
        out.append(share / weight[:, :k].sum(1, keepdim=True).clamp(min=1e-30))
    return torch.stack(out)


def from_state(
    kind: str,
    state: Mapping[str, Tensor],
    shape: Sequence[int],
    classes: int,
    chosen: Any,
    objective: Objective = ONE_CLASS,
) -> Readout:
    """Returns the fitted head of a state: the inverse of :meth:`Readout.state`.

    Args:
        kind: "knn" or one of ``HEADS``.
        state: state of a readout of this kind.
        shape: shape of one view's features, arranged for the head.
        classes: number of classes, K.
        chosen: the chosen point of the grid; it has "k" for "knn".
        objective: the objective of its training.

    Raises:
        ValueError, KeyError: the state is not that of such a readout.
    """
    standard = Standard(state["standard.mean"], state["standard.deviation"])
    if kind == "knn":
        if (state["labels"].ndim == 1) != (objective is ONE_CLASS):
            raise ValueError(f"labels are {list(state['labels'].shape)}, the card says otherwise")
        return NearestReadout(state["bank"], state["labels"], int(chosen["k"]), classes, standard)
    head = HEADS[kind](tuple(shape), classes)
    parameters = {}
    for name, start in head.starts().items():
        value = state[f"head.{name}"]
        if value.shape != start.shape:
            raise ValueError(f"{name} is {list(value.shape)}, expected {list(start.shape)}")
        parameters[name] = value[None]
    return NetworkReadout(head, parameters, standard, objective)
