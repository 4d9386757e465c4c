"""Worlds whose ground truth is known, rendered as clips with a manifest."""
