"""Preparation of videos for training: index, check, mix, transcode, shard and render them."""
