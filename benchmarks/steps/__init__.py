"""Whole training steps, and the steps that they are compared with."""
