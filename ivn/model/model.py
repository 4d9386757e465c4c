"""Encoder, predictor and decoder as one model."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from .alignment import Alignment
from .decoder import Decoder, DecoderConfig, LatentHeadConfig, build_decoder
from .encoder import Encoder, EncoderConfig
from .layers import materialise
from .predictor import Predictor, PredictorConfig, load_modernbert


@dataclass(frozen=True)
class ModelConfig:
    """The three networks of a student.

    Attributes:
        encoder, predictor, decoder: their sizes.
        dtype: in which the networks compute; parameters, statistics and losses are fp32.
    """

    encoder: EncoderConfig
    predictor: PredictorConfig
    decoder: DecoderConfig
    dtype: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class AlignmentSizes:
    """Alignment heads: how many, the teacher's width, and whether one is for the pooled vector."""

    layers: int
    teacher_width: int
    pooled: bool


class Model(nn.Module):
    """An encoder and, where there are any, the parts around it."""

    def __init__(
        self,
        encoder: Encoder,
        predictor: Predictor | None,
        decoder: Decoder | None,
        alignment: Alignment | None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.decoder = decoder
        self.alignment = alignment

    def compute_in(self, dtype: torch.dtype) -> "Model":
        """Compute in ``dtype``, whatever the parameters' dtype; gives the model back."""
        self.encoder.compute_dtype = dtype
        return self


def build_model(
    config: ModelConfig,
    alignment: AlignmentSizes | None,
    *,
    seed: int,
    pretrained: bool = True,
) -> Model:
    """A model with weights from ``seed`` and, as its config says, from a text encoder.

    Args:
        config: of the networks.
        alignment: heads to build for a teacher.
        seed: of the random weights.
        pretrained: False leaves the text encoder's weights out: a checkpoint brings others.
    """
    width, grid = config.encoder.width, config.encoder.grid
    with torch.device("meta"):
        encoder = Encoder(config.encoder)
        predictor = Predictor(config.predictor, width, grid)
        latent = isinstance(config.decoder, LatentHeadConfig)
        pixels = 3 * config.encoder.patch_size**2
        decoder = build_decoder(
            config.decoder,
            condition=config.predictor.width,
            target=width if latent else pixels,
        )
        heads = None
        if alignment is not None:
            pool_width = config.encoder.pool_width if alignment.pooled else 0
            heads = Alignment(alignment.layers, width, alignment.teacher_width, pool_width, grid)
        model = Model(encoder, predictor, decoder, heads)
    materialise(model, torch.Generator().manual_seed(seed))
    if pretrained and config.predictor.init == "modernbert":
        load_modernbert(predictor, config.predictor.source)
    return model.compute_in(getattr(torch, config.dtype))
