"""The task of camera motion: generated clips, their features and the measurement."""
