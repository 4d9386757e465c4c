"""Chooses the clips of each step and the frames of each clip."""
