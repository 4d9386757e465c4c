"""Predictors and decoders of the paper's ablations change themselves alone: tables 1a to 1c."""

import pytest
import torch
from torch import nn

from ivn.model.decoder import DiffusionDecoder, PixelHead
from ivn.model.packed import Packed
from ivn.model.vit import ViTLayer, ViTPredictorConfig
from tests.small import random_batch, small_config, small_stage
from tests.stages.test_packed import alone
from tests.stages.variants import S1, S2, VIT, assert_changes, assert_same, build, of

pytest.importorskip("transformers")


@pytest.mark.parametrize("layers", [2, 5, 8])
def test_text_initialisation_takes_the_text_encoders_last_layers(text_encoder, layers):
    text, folder = text_encoder
    depth = f"model.predictor.layers={layers}"
    scratch = small_stage(small_config(S1, depth))
    taken = small_stage(
        small_config(
            S1, depth, "model.predictor.init=modernbert", f"model.predictor.source={folder}"
        )
    )
    assert len(taken.predictor.layers) == layers
    for ours, theirs in zip(taken.predictor.layers, text.layers[-layers:], strict=True):
        assert_same(ours, theirs)
    assert scratch.state_dict().keys() == taken.state_dict().keys()
    changed = {
        name
        for name, value in scratch.state_dict().items()
        if not torch.equal(value, taken.state_dict()[name])
    }
    assert {name for name in changed if not name.startswith("predictor.layers.")} == set()
    matrices = {n for n, p in taken.named_parameters() if "predictor.layers" in n and p.ndim == 2}
    assert matrices <= changed


@pytest.mark.parametrize("depth", [5, 12])
def test_a_vit_predictor_takes_the_text_layers_place_and_no_others(rows, depth):
    baseline, row = rows(S1), rows(S1, *VIT, f"model.predictor.depth={depth}")
    assert row.terms == baseline.terms
    assert_changes(row, baseline, "predictor")
    inside = ("predictor.layers.", "predictor.norm.")
    for one in (row, baseline):
        one.outside = {name for name in one.trained if not name.startswith(inside)}
    assert row.outside == baseline.outside
    blocks = {name.split(".")[2] for name in row.trained if name.startswith("predictor.layers.")}
    assert blocks == {str(i) for i in range(depth)}


@pytest.mark.parametrize("layers", [5, 8])
def test_more_of_the_text_encoders_layers_change_the_predictor_alone(rows, layers):
    baseline, row = rows(S1), rows(S1, f"model.predictor.layers={layers}")
    assert row.terms == baseline.terms
    assert_changes(row, baseline, "predictor")


def test_a_vit_layer_is_pytorchs_pre_norm_encoder_layer():
    config = ViTPredictorConfig(width=24, heads=3, depth=1, mlp_ratio=2.0)
    layer = ViTLayer(config, 0).double()
    theirs = nn.TransformerEncoderLayer(
        24, 3, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True,
        layer_norm_eps=1e-6,
    ).double()  # fmt: skip
    names = {
        "norm1": "norm1",
        "attn.qkv": "self_attn.in_proj_",
        "attn.proj": "self_attn.out_proj",
        "norm2": "norm2",
        "mlp.fc1": "linear1",
        "mlp.fc2": "linear2",
    }
    state = theirs.state_dict()
    layer.load_state_dict(
        {
            f"{ours}.{kind}": state[f"{other}{kind}" if other[-1] == "_" else f"{other}.{kind}"]
            for ours, other in names.items()
            for kind in ("weight", "bias")
        }
    )
    x = torch.randn(2, 7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_a_vit_predictor_serves_clips_of_different_lengths():
    stage = build(S2, *VIT, "stage.views.0.truncate=none", "model.encoder.drop_path=0")
    batch = random_batch(stage)
    visible, masked = stage.mask(batch, view=0)
    assert isinstance(visible, Packed) and isinstance(masked, Packed)
    together = (
        stage.student(batch.clips["student"], visible, masked).predicted[0].split(masked.lengths)
    )
    for i, (seen, hidden) in enumerate(zip(alone(visible), alone(masked), strict=True)):
        apart = stage.student(batch.clips["student"][i : i + 1], seen, hidden).predicted[0]
        torch.testing.assert_close(together[i], apart, rtol=1e-4, atol=1e-5)


DECODERS = {
    "linear": (["kind=pixel", "depth=1"], PixelHead, 1),
    "MLP of 3": (["kind=pixel", "depth=3", "width=40"], PixelHead, 3),
    "diffusion D3": (["depth=3"], DiffusionDecoder, 3),
    "diffusion D6": (["depth=6", "width=40"], DiffusionDecoder, 6),
    "diffusion D9": (["depth=9", "width=48"], DiffusionDecoder, 9),
}


@pytest.mark.parametrize(("settings", "kind", "depth"), DECODERS.values(), ids=DECODERS)
def test_a_decoder_changes_the_decoder_alone(rows, settings, kind, depth):
    baseline, row = rows(S1), rows(S1, *(f"model.decoder.{setting}" for setting in settings))
    assert row.terms == baseline.terms
    assert row.trained - of(row.trained, "decoder") == baseline.trained - of(
        baseline.trained, "decoder"
    )
    decoder = row.stage.decoder
    assert isinstance(decoder, kind)
    layers = decoder.net if kind is PixelHead else decoder.net.res_blocks
    assert sum(not isinstance(layer, nn.GELU) for layer in layers) == depth
    assert_changes(row, baseline, "decoder")
