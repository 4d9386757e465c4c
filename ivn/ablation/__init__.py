"""The ablations of the paper (arXiv 2512.01342): its tables as runs, beside its own numbers."""
