"""What a run is made of: its config, presets, and how both are told."""
