"""Reads one file: its bytes, its streams, its facts and its frames."""
