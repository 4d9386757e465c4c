"""The terms of an objective."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ivn.model.layers import wide_dtype


@dataclass(frozen=True)
class Term:
    """A part of the loss: a sum with its gradient, and the number of values in the sum.

    Both are added up over micro-batches and processes before they are divided.
    """

    total: Tensor
    count: Tensor

    def __add__(self, other: "Term") -> "Term":
        """Returns the term over the values of both."""
        return Term(self.total + other.total, self.count + other.count)


def added(parts: Iterable[Mapping[str, Term]]) -> dict[str, Term]:
    """Returns each term over the values of all ``parts``."""
    terms: dict[str, Term] = {}
    for part in parts:
        for name, term in part.items():
            terms[name] = terms[name] + term if name in terms else term
    return terms


def mean_term(values: Tensor) -> Term:
    """Returns the mean of ``values`` as a sum, in at least fp32, and a count."""
    # The count stays on the host: it is known there, and copying it would wait for the device.
    count = torch.tensor(values.numel(), dtype=torch.int64)
    return Term(values.to(wide_dtype(values.dtype)).sum(), count)
