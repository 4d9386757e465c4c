"""Finds when a stream's packets are shown, and which of them a frame needs."""
