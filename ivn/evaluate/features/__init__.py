"""Features of clips, computed once and kept on disk."""
