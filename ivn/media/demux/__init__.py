"""Packets of a stream, in the order and at the times at which their frames are shown."""
