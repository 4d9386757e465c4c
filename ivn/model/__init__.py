"""The networks that are trained: encoder, predictor, decoders and alignment heads."""
