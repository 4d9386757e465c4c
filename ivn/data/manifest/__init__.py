"""Reads lists and manifests into sources."""
