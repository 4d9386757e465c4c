"""AdamW for stacks of heads, each with its own learning rate and weight decay.

Legend: H heads.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

_BETAS = (0.9, 0.999)
_EPS = 1e-8


class StackedAdamW:
    """AdamW (Loshchilov and Hutter 2019) like ``torch.optim.AdamW``, for many heads at once.

    Args:
        parameters: name -> tensor ``[H, ...]``, changed in place. Weight decay acts on matrices:
            tensors of three dimensions or more here.
        lr: learning rate of each head at the start, ``[H]``; it falls to 0 in a half cosine.
        decay: weight decay of each head, ``[H]``.
        steps: number of steps in the whole training.
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
        """Takes one step along the gradients, then clears them."""
        lr = self._lr * (0.5 * (1 + math.cos(math.pi * self._step / self._steps)))
        self._step += 1
        correction1, correction2 = (1 - beta**self._step for beta in _BETAS)
        for name, value in self._parameters.items():
            assert value.grad is not None, name
            rows = [-1] + [1] * (value.ndim - 1)
            first = self._first[name].lerp_(value.grad, 1 - _BETAS[0])
            second = self._second[name].lerp_(value.grad.square(), 1 - _BETAS[1])
            if value.ndim > 2:
                value.mul_((1 - lr * self._decay).view(rows))
            scale = (second / correction2).sqrt() + _EPS
            value.sub_((lr / correction1).view(rows) * first / scale)
            value.grad = None
