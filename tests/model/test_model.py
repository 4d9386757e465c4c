"""The initial weights of a model."""

from dataclasses import replace

import torch

from ivn.model.decoder import DiffusionConfig, PixelHeadConfig
from ivn.model.encoder import EncoderConfig, build_encoder
from ivn.model.layers import part_generator
from ivn.model.model import AlignmentSizes, ModelConfig, build_model
from ivn.model.predictor import PredictorConfig

ENCODER = EncoderConfig(
    48, 2, 4, 64, image_height=28, image_width=28, num_frames=2, pool_heads=4, pool_width=24
)
PREDICTOR = PredictorConfig(32, 4, 40, layers=2, init="scratch")
CONFIG = ModelConfig(ENCODER, PREDICTOR, DiffusionConfig(depth=1, width=16))
HEADS = AlignmentSizes(2, 20, pooled=True)


def states(config: ModelConfig = CONFIG, alignment: AlignmentSizes | None = HEADS, **more):
    """Each part's weights, as one vector."""
    model = build_model(config, alignment, **{"seed": 1} | more)
    return {
        name: torch.cat([x.flatten() for x in part.state_dict().values()])
        for name, part in model.named_children()
    }


def test_each_parts_weights_are_its_own_whatever_the_others_are():
    everything = {
        "pixel_decoder": PixelHeadConfig(depth=2, width=24),
        "second_alignment": AlignmentSizes(1, 12, pooled=False),
    }
    full = states(**everything)
    assert len(full) == 6
    others = {
        "predictor": states(replace(CONFIG, predictor=replace(PREDICTOR, layers=5)), **everything),
        "decoder": states(
            replace(CONFIG, decoder=PixelHeadConfig(depth=3, width=40)), **everything
        ),
        "alignment": states(CONFIG, AlignmentSizes(1, 20, pooled=False), **everything),
        "predictor and decoder": states(predicts=False, **everything),
        "pixel_decoder and second_alignment": states(),
    }
    for changed, found in others.items():
        same = {name for name in found if torch.equal(found[name], full[name])}
        assert same == full.keys() - set(changed.split(" and ")), changed
    other = states(seed=2, **everything)
    assert not any(torch.equal(other[name], full[name]) for name in full)


def test_parts_of_the_same_sizes_do_not_begin_alike():
    found = states(pixel_decoder=CONFIG.decoder, second_alignment=HEADS)
    for one, other in (("decoder", "pixel_decoder"), ("alignment", "second_alignment")):
        assert not torch.equal(found[one], found[other])


def test_an_encoder_alone_is_that_of_any_model_of_its_seed():
    alone, model = build_encoder(ENCODER, seed=5), build_model(CONFIG, HEADS, seed=5)
    theirs = model.encoder.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in alone.state_dict().items())


def test_what_a_seed_gives_is_the_same_in_every_process():
    assert part_generator(0, "encoder").initial_seed() == 0xB6E759E14247E70D
    assert part_generator(2**62, "decoder").initial_seed() == 0xA87DC1C214209C2A
