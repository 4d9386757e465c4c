"""Differentiable operations: what they compute, on any device, in eager or compiled code."""

from ._library import check_index
from .distance import cosine_distance
from .patches import gather_patches, gather_target_patches
from .tokens import gather_tokens

__all__ = [
    "check_index",
    "cosine_distance",
    "gather_patches",
    "gather_target_patches",
    "gather_tokens",
]
