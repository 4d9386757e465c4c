"""Video files in, uint8 clips out: list, decode, sample, crop, load."""
