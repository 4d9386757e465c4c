"""Evaluation of frozen encoders: tasks, heads, splits, scores and results."""
