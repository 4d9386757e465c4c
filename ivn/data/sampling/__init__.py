"""The clips of each step, and the frames of each clip."""
