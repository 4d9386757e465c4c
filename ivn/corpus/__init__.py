"""What is done to videos before training: index, check, mix, transcode, shard and render them."""
