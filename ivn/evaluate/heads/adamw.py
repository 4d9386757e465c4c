"""AdamW for stacks of heads: each with its own learning rate and weight decay.

Legend: H heads.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

_BETAS = (0.9, 0.999)
_EPS = 1e-8


class StackedAdamW:
    """AdamW (Loshchilov and Hutter 2019) as ``torch.optim.AdamW`` has it, a head a row.

    Args:
        parameters: by name, ``[H, ...]`` each; changed in place. Weight decay is for matrices:
            those of three dimensions and more here.
        lr: of each head at the start, ``[H]``; it falls to 0 in a half cosine over ``steps``.
        decay: of each head, ``[H]``.
        steps: of the whole training.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], lr: Tensor, decay: Tensor, *, steps: int
    ) -> None:
        self._parameters = dict(parameters)
        self._lr, self._decay, self._steps = lr, decay, steps
        self._first = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._second = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._step = 0

    @torch.no_grad()
    def step(self) -> None:
        """Take one step along the gradients, then forget them."""
        lr = self._lr * (0.5 * (1 + math.cos(math.pi * self._step / self._steps)))
        self._step += 1
        one, two = (1 - beta**self._step for beta in _BETAS)
        for name, value in self._parameters.items():
            assert value.grad is not None, name
            rows = [-1] + [1] * (value.ndim - 1)
            first = self._first[name].lerp_(value.grad, 1 - _BETAS[0])
            second = self._second[name].lerp_(value.grad.square(), 1 - _BETAS[1])
            if value.ndim > 2:
                value.mul_((1 - lr * self._decay).view(rows))
            value.sub_((lr / one).view(rows) * first / ((second / two).sqrt() + _EPS))
            value.grad = None
