"""Differentiable operations, the same on every device, in eager and in compiled code."""

from ._library import check_index, check_range
from .distance import cosine_distance
from .patches import gather_patches, gather_target_patches
from .tokens import add_positions, gather_tokens, place_tokens

__all__ = [
    "add_positions",
    "check_index",
    "check_range",
    "cosine_distance",
    "gather_patches",
    "gather_target_patches",
    "gather_tokens",
    "place_tokens",
]
