"""One file: its bytes, its streams, its facts and its frames."""
