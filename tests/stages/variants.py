"""Rows of the paper's ablations: stages of a few changed fields, and what they are made of.

A row is a few fields. Compared with the row that it departs from are the terms of the loss, the
parameters that train, and where weights come from. Teachers have the real class, random weights.
"""

import zlib

import pytest
import torch
from torch import nn

from ivn.train.gradients import compute_gradients
from tests.small import random_batch, small_config, small_stage

pytest.importorskip("transformers")

# Added to the scores of all keys alike, which a softmax does not see.
WITHOUT_EFFECT = ("clip_projector.norm1_k.bias", "clip_projector.cross_attn.k_bias")
TINY_TEACHER = ("source=tiny", "image_size=64", "taps=[4]", "weights=random")


def teacher(key: str) -> list[str]:
    """Another teacher of random weights for the field ``key``."""
    return [f"{key}.kind=siglip", *(f"{key}.{setting}" for setting in TINY_TEACHER)]


def build(preset: str, *changes: str):
    """A small stage with no parameter at zero, where it would hide others' gradients."""
    stage = small_stage(small_config(preset, *changes))
    with torch.no_grad():
        for part, module in stage.parts.items():
            for name, parameter in module.named_parameters():
                # By its name: what two rows share moves alike.
                generator = torch.Generator().manual_seed(zlib.crc32(f"{part}.{name}".encode()))
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    stage.after_start()
    return stage


def assert_same(one: nn.Module, other: nn.Module) -> None:
    """Bit-equal parameters under the same names."""
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


class Row:
    """What a row's objective is made of: its terms, and the parameters that they reach."""

    def __init__(self, preset: str, *changes: str) -> None:
        self.stage = build(preset, *changes)
        self.batch = random_batch(self.stage)
        self.loss = compute_gradients(self.stage, self.batch, 1)
        self.terms = set(self.loss.means)
        named = dict(self.stage.named_parameters())
        self.gradients = {k: p.grad.clone() for k, p in named.items() if p.grad is not None}
        self.trained = {
            k for k, g in self.gradients.items() if g.any() or k.endswith(WITHOUT_EFFECT)
        }
        groups = self.stage.parameter_groups()
        self.handed = {key for group in groups for key in group.params}
        self.parts = set(self.stage.parts)


def assert_changes(row: Row, baseline: Row, *parts: str) -> None:
    """All parts but ``parts`` are there in both rows, and begin with the same weights."""
    ours, theirs = row.stage.parts, baseline.stage.parts
    assert ours.keys() - set(parts) == theirs.keys() - set(parts)
    for part in ours.keys() - set(parts):
        assert_same(ours[part], theirs[part])


def of(names: set[str], *parts: str) -> set[str]:
    """Those of ``names`` that lie in ``parts``."""
    return {name for name in names if name.partition(".")[0] in parts}


PIXEL_ONLY, ALIGN_ONLY = "stage.layers_weight=0", "stage.pixels_weight=0"
S1, S2 = "stage1-tiny", "stage2-tiny"
VIT = ["model.predictor.kind=vit", "model.predictor.width=48", "model.predictor.heads=3"]
VISIBLE = ["stage.layers_weight=1", *teacher("stage.teacher")]
PIXELS = [
    "stage.pixels_weight=1",
    "stage.pixel_decoder.depth=1",
    "stage.pixel_decoder.width=32",
]
