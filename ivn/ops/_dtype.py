"""In which dtype an operation computes."""

import torch


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype for statistics and losses of ``dtype`` activations: fp32, or fp64."""
    return torch.promote_types(dtype, torch.float32)
