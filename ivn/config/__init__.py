"""The configuration of a run, its presets, and the help that describes it."""
