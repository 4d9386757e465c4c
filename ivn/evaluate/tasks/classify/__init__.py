"""The class of a video, by heads on frozen features."""
