"""Features of clips: computed once, kept on disk."""
