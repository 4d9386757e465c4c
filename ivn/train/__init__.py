"""Training: optimiser, schedule, checkpoints, log and the loop that knows no stage by name."""
