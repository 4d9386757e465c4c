"""Heads on frozen features: their networks, training and choice."""
