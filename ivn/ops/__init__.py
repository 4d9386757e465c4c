"""Differentiable operations: what they compute, on any device, in eager or compiled code."""

from .distance import cosine_distance
from .patches import gather_patches, gather_target_patches
from .tokens import gather_tokens

__all__ = ["cosine_distance", "gather_patches", "gather_target_patches", "gather_tokens"]
