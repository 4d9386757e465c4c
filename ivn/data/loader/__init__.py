"""Batches, made by processes beside the one that trains."""
