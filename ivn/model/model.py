"""Encoder, predictor and decoder as one model."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from .alignment import Alignment
from .decoder import (
    Decoder,
    DecoderConfig,
    LatentHeadConfig,
    PixelDecoder,
    PixelDecoderConfig,
    build_decoder,
    build_pixel_decoder,
)
from .encoder import Encoder, EncoderConfig
from .layers import materialise, part_generator
from .predictor import AnyPredictorConfig, Predictor, load_pretrained


@dataclass(frozen=True)
class ModelConfig:
    """The three networks of a student.

    Attributes:
        encoder: network that is trained for its features.
        predictor: network from the visible tokens to all tokens (Table 1b).
        decoder: network from a predicted token to its target, pixels or a latent vector (Table 1c).
        dtype: dtype of the networks' computation; parameters, statistics and losses are fp32.
    """

    encoder: EncoderConfig
    predictor: AnyPredictorConfig
    decoder: DecoderConfig
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.encoder.family != "internvideo_next":
            raise ValueError(
                f"encoder.family is {self.encoder.family!r}, expected 'internvideo_next': an "
                "InternVideo2 is a teacher or a frozen encoder, and predictors need four cls tokens"
            )


@dataclass(frozen=True)
class AlignmentSizes:
    """Sizes of alignment heads.

    Attributes:
        layers: number of heads for tokens.
        teacher_width: number of features of the teacher's tokens.
        pooled: whether there is a head for the pooled vector.
        pooled_width: number of features of the teacher's pooled vectors; 0 is the tokens' number.
    """

    layers: int
    teacher_width: int
    pooled: bool
    pooled_width: int = 0


class Model(nn.Module):
    """An encoder and the optional parts around it.

    ``pixel_decoder`` is for pixels beside a latent decoder, ``second_alignment`` for a second
    teacher.
    """

    def __init__(
        self,
        encoder: Encoder,
        predictor: Predictor | None,
        decoder: Decoder | None,
        alignment: Alignment | None,
        *,
        pixel_decoder: PixelDecoder | None = None,
        second_alignment: Alignment | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.decoder = decoder
        self.alignment = alignment
        self.pixel_decoder = pixel_decoder
        self.second_alignment = second_alignment

    def compute_in(self, dtype: torch.dtype) -> "Model":
        """Sets the dtype of computations, whatever the parameters' dtype, and returns the model."""
        self.encoder.compute_dtype = dtype
        return self


def build_model(
    config: ModelConfig,
    alignment: AlignmentSizes | None,
    *,
    seed: int,
    pretrained: bool = True,
    predicts: bool = True,
    latent_width: int = 0,
    pixel_decoder: PixelDecoderConfig | None = None,
    second_alignment: AlignmentSizes | None = None,
) -> Model:
    """Builds a model with weights from ``seed`` and, if its config says so, from a text encoder.

    The weights of a part depend on the seed, its name and its sizes, not on other parts.

    Args:
        config: sizes of the networks.
        alignment: sizes of the heads for a teacher.
        seed: seed of the random weights.
        pretrained: whether to load the text encoder's weights; a checkpoint needs none.
        predicts: whether to build predictor and decoder.
        latent_width: number of features that a latent decoder predicts; 0 is the encoder's.
        pixel_decoder: sizes of a decoder of pixels beside the first.
        second_alignment: sizes of the heads for a second teacher.
    """
    width, grid = config.encoder.width, config.encoder.grid

    def heads_of(sizes: AlignmentSizes | None) -> Alignment | None:
        if sizes is None:
            return None
        pool_width = config.encoder.pool_width if sizes.pooled else 0
        pooled = (pool_width, sizes.pooled_width)
        return Alignment(sizes.layers, width, sizes.teacher_width, *pooled, grid)

    with torch.device("meta"):
        encoder = Encoder(config.encoder)
        predictor = Predictor(config.predictor, width, grid) if predicts else None
        latent = isinstance(config.decoder, LatentHeadConfig)
        pixels, condition = 3 * config.encoder.patch_size**2, config.predictor.width
        target = (latent_width or width) if latent else pixels
        decoder = None
        if predicts:
            decoder = build_decoder(config.decoder, condition=condition, target=target)
        beside = None
        if pixel_decoder is not None:
            beside = build_pixel_decoder(pixel_decoder, condition=condition, target=pixels)
        model = Model(
            encoder,
            predictor,
            decoder,
            heads_of(alignment),
            pixel_decoder=beside,
            second_alignment=heads_of(second_alignment),
        )
    for name, part in model.named_children():
        materialise(part, part_generator(seed, name))
    if predictor is not None and pretrained:
        load_pretrained(predictor)
    return model.compute_in(getattr(torch, config.dtype))
