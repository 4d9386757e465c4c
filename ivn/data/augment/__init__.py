"""Augments batches in colour and geometry, on the device where they are used."""
