"""The dtypes that operations compute in, and those that the library is compiled for."""

import torch


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype for statistics and losses of ``dtype`` activations: fp32, or fp64."""
    return torch.promote_types(dtype, torch.float32)


def compiled_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype in which the library computes a result that is then cast to ``dtype``.

    The library has no fp16, since training is in bf16: fp32 stands for it.
    """
    return torch.float32 if dtype == torch.float16 else dtype
