"""Reads runs into the content of a page."""
