"""Turns sources into batches of uint8 clips: reads lists, samples, crops, augments and loads."""
