"""Whole training steps, and what they are compared with."""
