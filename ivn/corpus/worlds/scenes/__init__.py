"""Drawn scenes: objects on a textured ground, seen by a camera that moves."""
