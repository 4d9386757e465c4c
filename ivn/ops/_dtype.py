"""In which dtype an operation computes, and what of it is compiled."""

import torch


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype for statistics and losses of ``dtype`` activations: fp32, or fp64."""
    return torch.promote_types(dtype, torch.float32)


def compiled_dtype(dtype: torch.dtype) -> torch.dtype:
    """In which dtype the library makes what is then ``dtype``: no fp16, training is in bf16."""
    return torch.float32 if dtype == torch.float16 else dtype
