"""Measures whether a run learns: each part's gradient and update, and how features differ.

One step in ``run.log_every`` is measured. Only :meth:`HealthCheck.fetch` waits for the device, when
the metrics are fetched anyway. The measurement changes no result.

Legend: B clips, N tokens of a clip, C features of a token.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ivn.data.batch import Batch
from ivn.model.layers import wide_dtype
from ivn.stages.stage import Stage

# Clips of a batch whose features are looked at: enough to differ, few enough to cost little.
CLIPS = 8
# What bf16 rounds off in a few blocks, 0.4 % of the size in each: less is not known to differ. At
# its random start `tiny` is at 0.8 on the bundled clips.
LOWEST_STD = 0.01
# 98 % of the variance in one direction. `tiny` starts at 4 to 7 and passes 1.8 within ten steps on
# the bundled clips, brightness being most of what it then knows: that is no collapse.
LOWEST_RANK = 1.1


class HealthCheck:
    """The health of one step.

    It is made when the step's gradients are there and not yet clipped, and :meth:`stepped` is
    called after the optimiser's step. In between it keeps a copy of the trainable parameters.

    Args:
        stage: the stage that trains.
        batch: the step's batch on the device; the features of its first clips are measured.
    """

    def __init__(self, stage: Stage, batch: Batch) -> None:
        self._stage = stage
        self._clips = batch.part(0, min(len(batch), CLIPS))
        trained = {
            part: [parameter for parameter in module.parameters() if parameter.requires_grad]
            for part, module in stage.parts.items()
        }
        self._trained = {part: parameters for part, parameters in trained.items() if parameters}
        self._before = {
            part: [parameter.detach().clone() for parameter in parameters]
            for part, parameters in self._trained.items()
        }
        self._gradients = {
            part: _norm([p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters])
            for part, parameters in self._trained.items()
        }
        self._updates: dict[str, Tensor] = {}

    def stepped(self) -> None:
        """Notes that the optimiser has stepped, or has skipped the step."""
        for part, parameters in self._trained.items():
            now = [parameter.detach() for parameter in parameters]
            self._updates[part] = _norm(list(torch._foreach_sub(now, self._before[part])))
        self._before = {}

    def fetch(self, means: dict[str, float]) -> dict[str, Any]:
        """Returns the step's health as plain numbers; waits for the device.

        Args:
            means: term -> mean in this step.

        Returns:
            ``grad_norm`` of each part before clipping and ``update_norm`` after the step;
            ``feature_std`` and ``effective_rank`` (see :func:`feature_spread`) of the encoder after
            the step; ``cosine`` of each term that compares with a teacher.
        """
        with evaluating(self._stage.parts["encoder"]), torch.no_grad():
            spread = feature_spread(self._stage.features(self._clips))
        scalars = [*self._gradients.values(), *self._updates.values(), *spread]
        values = iter(torch.stack([scalar.double() for scalar in scalars]).tolist())
        return {
            "grad_norm": {part: next(values) for part in self._gradients},
            "update_norm": {part: next(values) for part in self._updates},
            "feature_std": next(values),
            "effective_rank": next(values),
            "cosine": self._stage.cosines(means),
        }


class CollapseAlarm:
    """Warns that features have collapsed, once each time that it begins.

    Attributes:
        collapsed: whether features were collapsed at the last measurement; part of a run's state.
    """

    def __init__(self) -> None:
        self.collapsed = False

    def warning(self, health: dict[str, Any]) -> str:
        """Returns a warning about a step's health, or "" where there is nothing new."""
        std, rank = health["feature_std"], health["effective_rank"]
        before, self.collapsed = self.collapsed, std < LOWEST_STD or rank < LOWEST_RANK
        if before or not self.collapsed:
            return ""
        return (
            f"features have collapsed: all clips look alike to the encoder (feature_std {std:.2g}, "
            f"warned of below {LOWEST_STD}; effective_rank {rank:.2f}, below {LOWEST_RANK}); if "
            "this lasts, start again with a lower optim.lr or a longer warm-up"
        )


def feature_spread(features: Tensor) -> tuple[Tensor, Tensor]:
    """Returns how far, and in how many directions, the features of clips differ.

    The mean of each place over the clips is subtracted first, so that a token's position alone does
    not count; from a single clip, the mean over its tokens. The rest has the unbiased covariance
    ``S`` ``[C, C]``:

        feature_std = sqrt(trace(S) / C) / rms(features)
        effective_rank = exp(-sum p log p), p = eigenvalues of S / their sum

    The second is the effective rank of Roy & Vetterli (2007) of ``S``, so of the *squares* of the
    remaining features' singular values.

    Args:
        features: tokens of some clips, of any floating dtype, ``[B, N, C]``.

    Returns:
        Both as scalars on the device, computed in fp32, or in fp64 for fp64 features: 0 and 1 where
        features differ by rounding alone, NaN where some are not finite.
    """
    B, N, C = features.shape
    x = features.to(wide_dtype(features.dtype))
    rest = (x - x.mean(0 if B > 1 else 1, keepdim=True)).flatten(0, 1)
    freedom = (B - 1) * N if B > 1 else max(1, N - 1)
    covariance = rest.T @ rest / freedom
    rms = x.square().mean().sqrt()
    std = (covariance.trace() / C).sqrt()
    # Eigenvalues of what is not finite would be an error.
    finite = covariance.isfinite().all() & rms.isfinite()
    alike = std <= 8 * torch.finfo(x.dtype).eps * rms
    usable = finite & ~alike
    eigenvalues = torch.linalg.eigvalsh(torch.where(usable, covariance, 1.0)).clamp(min=0)
    entropy = torch.special.entr(eigenvalues / eigenvalues.sum()).sum()
    std = torch.where(usable, std / rms, 0.0)
    rank = torch.where(usable, entropy.exp(), 1.0)
    return torch.where(finite, std, torch.nan), torch.where(finite, rank, torch.nan)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts ``module`` in evaluation mode, and restores the mode of each of its modules after."""
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, mode in modes:
            each.training = mode


def _norm(tensors: list[Tensor]) -> Tensor:
    return nn.utils.get_total_norm(tensors)
