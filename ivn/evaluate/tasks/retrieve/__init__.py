"""The nearest videos, by the cosine of frozen features."""
