"""The head with the mean query gives what the official one gave, on every instance in the folder.

The folder is that of IVN_GOLDEN_EVALUATION. An instance is ``NAME.json`` with the sizes,
``NAME.weights.safetensors`` under the official keys and ``NAME.io.safetensors`` with tokens,
outputs and the gradient. Tolerances are relative to the reference's largest magnitude.
"""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from ivn.evaluate.heads.meanquery import POOLED, MeanQueryHead

HERE = Path(__file__).parents[2] / "golden-evaluation"
FOLDER = Path(os.environ.get("IVN_GOLDEN_EVALUATION", HERE))
OUTPUT, GRADIENT = 1e-5, 1e-4
POOL = "clip_projector"
# Ours -> official. What adds the same to every token's score is not among ours.
KEYS = {
    **{f"{part}.norm.weight": f"{POOL}.norm1_{part[0]}.weight" for part in ("query", "value")},
    **{f"{part}.norm.bias": f"{POOL}.norm1_{part[0]}.bias" for part in ("query", "value")},
    **{f"{part}.bias": f"{POOL}.cross_attn.{part[0]}_bias" for part in ("query", "value")},
    **{
        f"{part}.weight": f"{POOL}.cross_attn.{part[0]}.weight"
        for part in ("query", "key", "value")
    },
    "key.norm.weight": f"{POOL}.norm1_k.weight",
    "out.weight": f"{POOL}.cross_attn.proj.weight",
    "out.bias": f"{POOL}.cross_attn.proj.bias",
    "norm.weight": "fc_norm.weight",
    "norm.bias": "fc_norm.bias",
    "weight": "head.weight",
    "bias": "head.bias",
}
WITHOUT_EFFECT = {f"{POOL}.norm1_k.bias", f"{POOL}.cross_attn.k_bias"}


def instances():
    found = sorted(FOLDER.glob("internvideo2_attention_pool_probe*.json"))
    assert found, f"no internvideo2_attention_pool_probe*.json in {FOLDER}"
    return found


def assert_near(actual, expected, tolerance):
    assert actual.shape == expected.shape
    error = (actual.detach() - expected).abs().max() / expected.abs().max()
    assert error <= tolerance, f"{error:.2e}"


@pytest.mark.parametrize("file", instances(), ids=lambda file: file.stem)
def test_the_mean_token_asks_as_in_the_release(file):
    sizes = json.loads(file.read_text())
    weights = load_file(file.with_name(f"{file.stem}.weights.safetensors"))
    io = load_file(file.with_name(f"{file.stem}.io.safetensors"))
    tokens = io["tokens"].requires_grad_()
    head = MeanQueryHead(tuple(tokens.shape[1:]), sizes["num_classes"])
    head.heads, head.pooled = sizes["num_heads"], sizes["out_dim"]
    starts = head.starts()
    assert set(weights) == set(KEYS.values()) | WITHOUT_EFFECT and set(starts) == set(KEYS)
    # The second head of the stack is another one.
    parameters = {ours: weights[official] for ours, official in KEYS.items()}
    assert all(parameters[name].shape == start.shape for name, start in starts.items())
    stack = {name: torch.stack([value, value + 0.1]) for name, value in parameters.items()}
    assert_near(head.pool(stack, tokens)[0], io["pooled"], OUTPUT)
    logits = head.logits(stack, tokens)[0]
    assert_near(logits, io["logits"], OUTPUT)
    loss = F.cross_entropy(logits, io["labels"])
    assert_near(loss[None], io["loss"], OUTPUT)
    loss.backward()
    assert_near(tokens.grad, io["grad_tokens"], GRADIENT)


def test_the_head_starts_as_the_release_does():
    head = MeanQueryHead((6, 64), 5)
    start = {name: value[0] for name, value in head.initial(seed=0, count=1).items()}
    assert start["out.weight"].shape == (POOLED, 64) and start["weight"].shape == (5, POOLED)
    for part in ("query", "key", "value"):
        assert start[f"{part}.weight"].std() == pytest.approx(0.02 * 0.88, rel=0.05)
        assert torch.equal(start[f"{part}.norm.weight"], torch.ones(64))
    usual = torch.nn.Linear(POOLED, 5)
    for name in ("weight", "bias"):
        assert 0 < start[name].abs().max() < 2e-3 * usual.weight.abs().max()
