"""Videos made anew for training: smaller, with key frames where they are needed, cut to size."""
