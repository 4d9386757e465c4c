"""Lists and manifests of clips, read into sources."""
