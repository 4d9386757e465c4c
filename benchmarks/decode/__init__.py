"""Decoding chosen frames of real files."""
