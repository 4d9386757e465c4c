"""Trains any stage: optimiser, schedule, checkpoints, log and the loop."""
