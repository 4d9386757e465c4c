"""Runs read into the content of a page."""
