"""The networks: encoder, predictor, decoders and frozen teachers."""
