"""Walks through the maps of Freedoom, by VizDoom."""
