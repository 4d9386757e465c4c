"""The predictor against transformers' ModernBERT, and what it does around its layers."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ivn.model.layers import materialise
from ivn.model.predictor import Predictor, PredictorConfig, load_modernbert
from ivn.ops.attention import local_attention
from tests import hub

transformers = pytest.importorskip("transformers")

SIZES = PredictorConfig(64, 4, 112, layers=5, total_layers=28)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small ModernBERT with random weights, saved in its own format."""
    config = transformers.ModernBertConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=112,
        num_hidden_layers=28,
        num_attention_heads=4,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=1,
        cls_token_id=1,
        sep_token_id=2,
    )
    torch.manual_seed(0)
    model = transformers.ModernBertModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("modernbert")
    model.save_pretrained(path)
    return path


def build(config=SIZES, width=32, grid=(2, 3, 3)):
    with torch.device("meta"):
        predictor = Predictor(config, width, grid)
    materialise(predictor, torch.Generator().manual_seed(0))
    return predictor.eval()


@pytest.mark.parametrize("layers", [1, 5, 28])
@torch.no_grad()
def test_each_layer_equals_transformers(folder, layers):
    config = PredictorConfig(64, 4, 112, layers=layers, total_layers=28)
    predictor = build(config)
    load_modernbert(predictor, str(folder))
    text = transformers.ModernBertModel.from_pretrained(folder, attn_implementation="eager")
    # 300 tokens and more: otherwise the window of 64 to either side hides nothing
    ids = torch.randint(3, 64, (2, 330), generator=torch.Generator().manual_seed(1))
    inputs = []
    for layer in text.layers:
        layer.register_forward_hook(lambda m, args, out: inputs.append((args[0], out)))
    text(ids)
    for layer, layer_id in zip(predictor.layers, config.layer_ids, strict=True):
        given, expected = inputs[layer_id]
        expected = expected[0] if isinstance(expected, tuple) else expected
        error = (layer(given) - expected).abs().max() / expected.abs().max()
        assert error < 1e-5, f"layer {layer_id}: {error:.1e}"


BY_HUB_ID = """
import torch
from safetensors.torch import load_file, save_file
from tests.model.test_predictor import build, load_modernbert
by_folder, by_id = build(), build()
load_modernbert(by_folder, {folder!r})
load_modernbert(by_id, "answerdotai/ModernBERT-large")
assert all(map(torch.equal, by_id.parameters(), by_folder.parameters()))
assert not all(map(torch.equal, by_id.parameters(), build().parameters()))
"""


def test_a_hub_id_goes_through_transformers_loader(folder, tmp_path):
    hub.store(folder, "answerdotai/ModernBERT-large", tmp_path)
    hub.run(BY_HUB_ID.format(folder=str(folder)), tmp_path)


def test_a_text_encoder_of_other_sizes_is_refused(folder):
    with pytest.raises(ValueError, match=r"has hidden 112, model.predictor.hidden is 128"):
        load_modernbert(build(PredictorConfig(64, 4, 128)), str(folder))


def test_layers_alternate_as_in_the_whole_text_encoder():
    windows = [layer.window for layer in build(PredictorConfig(64, 4, 112)).layers]
    assert windows == [64, 0, 64, 64, 0]


@pytest.mark.parametrize("N", [1, 7, 8, 9, 63])
@pytest.mark.parametrize("window", [1, 4, 8])
def test_local_attention_is_attention_under_a_band(N, window):
    q, k, v = torch.randn(3, 2, N, 3, 8, dtype=torch.float64)
    near = (torch.arange(N)[:, None] - torch.arange(N)).abs() <= window
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k) / 8**0.5
    weights = scores.masked_fill(~near, -torch.inf).softmax(-1)
    expected = torch.einsum("bhnm,bmhd->bnhd", weights, v)
    torch.testing.assert_close(local_attention(q, k, v, window=window), expected)


@torch.no_grad()
def test_layers_from_scratch_start_as_modernbert_does():
    config = PredictorConfig(384, 6, 512, layers=2, total_layers=4, init="scratch")
    torch.manual_seed(0)
    text = transformers.ModernBertModel(
        transformers.ModernBertConfig(
            vocab_size=8, hidden_size=384, intermediate_size=512, num_hidden_layers=4,
            num_attention_heads=6, pad_token_id=0, eos_token_id=2, bos_token_id=1, cls_token_id=1,
            sep_token_id=2,
        )
    )  # fmt: skip
    for ours, theirs in zip(build(config).layers, text.layers[2:], strict=True):
        for name, weight in ours.named_parameters():
            expected = theirs.get_parameter(name)
            if weight.ndim == 1:
                assert torch.equal(weight, expected), name
                continue
            std = 0.02 / (8**0.5 if name.endswith("Wo.weight") else 1)
            for one in (weight, expected):
                # A normal cut at two deviations has 0.8796 of the deviation it was cut from.
                assert abs(float(one.std()) / (0.8796 * std) - 1) < 0.01, name
                assert 1.99 * std < float(one.abs().max()) <= 2 * std, name
                assert abs(float(one.mean())) < 0.01 * std, name


@torch.no_grad()
def test_hidden_tokens_are_filled_with_the_mask_token():
    predictor = build()
    hidden = torch.randn(2, 4 + 5, 32)
    visible = torch.tensor([[0, 3, 4, 9, 17], [1, 2, 3, 10, 11]])
    seen = []
    predictor.proj.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    out = predictor(hidden, visible, (2, 3, 3))
    assert out.shape == (2, 18, 64)
    tokens = seen[0] - predictor.pos_embed
    torch.testing.assert_close(tokens[:, :4], hidden[:, :4])
    for b in range(2):
        torch.testing.assert_close(tokens[b, 4 + visible[b]], hidden[b, 4:])
        masked = [4 + n for n in range(18) if n not in visible[b]]
        torch.testing.assert_close(tokens[b, masked], predictor.mask_token[0].expand(13, -1))


def test_without_transformers_one_line_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r'pip install "ivn\[hf\]"'):
        load_modernbert(build(), "answerdotai/ModernBERT-large")


def altered(folder, path, settings, dropped=()):
    """A copy of ``folder`` with other settings and without some weights."""
    shutil.copytree(folder, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | settings))
    state = load_file(path / "model.safetensors")
    kept = {k: v for k, v in state.items() if not any(name in k for name in dropped)}
    assert not dropped or len(kept) < len(state)
    save_file(kept, path / "model.safetensors", metadata={"format": "pt"})
    return str(path)


def test_a_text_encoder_that_computes_something_else_is_refused(folder, tmp_path):
    other = altered(folder, tmp_path / "eps", {"norm_eps": 1e-3})
    with pytest.raises(ValueError, match=r"\(0\.001, 'gelu', False, False\), expected"):
        load_modernbert(build(), other)
    with pytest.raises(ValueError, match=r"global_theta 160000.*is 5000"):
        load_modernbert(build(PredictorConfig(64, 4, 112, global_theta=5000.0)), str(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: (value * 100).to(torch.int8), r"safetensors: layers.* is int8, expected"),
        (lambda value: value * float("inf"), r"layers\.\d+\.\S+ is not finite"),
    ],
)
def test_a_text_encoder_whose_weights_are_none_is_refused(folder, tmp_path, change, words):
    other = Path(altered(folder, tmp_path / "other", {}))
    state = load_file(other / "model.safetensors")
    changed = {key: change(value) if "layers.2" in key else value for key, value in state.items()}
    save_file(changed, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=words):
        load_modernbert(build(), str(other))


def test_a_text_encoder_without_some_weights_is_refused(folder, tmp_path):
    partial = altered(folder, tmp_path / "partial", {}, dropped=["layers.25.mlp.Wi"])
    with pytest.raises(ValueError, match=r"missing layers\.25\.mlp\.Wi\.weight"):
        load_modernbert(build(), partial)
