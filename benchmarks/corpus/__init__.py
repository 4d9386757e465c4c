"""Benchmarks of the commands that prepare data."""
