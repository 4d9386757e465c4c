"""Heads are what they are called, and a stack of them is each of them alone."""

import pytest
import torch
from torch import nn

from ivn.evaluate.features.cache import HeldFeatures
from ivn.evaluate.heads.adamw import StackedAdamW
from ivn.evaluate.heads.heads import Attentive4Head, AttentiveHead, LinearHead, attention_heads
from ivn.evaluate.heads.meanquery import MeanQueryHead
from ivn.evaluate.heads.training import (
    Standard,
    Training,
    TrainingSamples,
    probabilities,
    standard,
    train,
)
from tests.evaluate.planted import draw

KINDS = [
    (LinearHead, (24,)),
    (AttentiveHead, (6, 64)),
    (Attentive4Head, (6, 64)),
    (MeanQueryHead, (6, 64)),
]


def perturbed(head, count):
    """Parameters of which none is zero or one, fp64."""
    start = head.initial(seed=0, count=count)
    return {
        name: (value + 0.3 * draw(*value.shape, seed=place)).double()
        for place, (name, value) in enumerate(start.items())
    }


def test_the_attentive_head_is_multi_head_attention_with_one_query():
    C, A, head = 64, 2, AttentiveHead((7, 64), 5)
    parameters, x = perturbed(head, 3), draw(4, 7, C).double()
    assert head.heads == A
    found = head.logits(parameters, x)
    tokens = nn.functional.layer_norm(x, (C,))
    for number in range(3):
        p = {name: value[number] for name, value in parameters.items()}
        reference = nn.MultiheadAttention(C, A, batch_first=True, dtype=torch.float64)
        eye, zero = torch.eye(C).double(), torch.zeros(C).double()
        keys, values = p["key.weight"], p["value.weight"]
        with torch.no_grad():
            reference.in_proj_weight.copy_(torch.cat([eye, keys, values]))
            # Any bias of the keys is the same for all tokens and changes nothing.
            reference.in_proj_bias.copy_(torch.cat([zero, draw(C).double(), p["value.bias"]]))
            reference.out_proj.weight.copy_(p["out.weight"])
            reference.out_proj.bias.copy_(p["out.bias"])
        query = p["query"].expand(4, 1, C)
        pooled = reference(query, tokens, tokens, need_weights=False)[0][:, 0]
        pooled = nn.functional.layer_norm(pooled, (C,), p["norm.weight"], p["norm.bias"])
        expected = pooled @ p["weight"].T + p["bias"]
        torch.testing.assert_close(found[number], expected, rtol=1e-10, atol=1e-10)


def test_the_head_of_four_blocks_is_vjepa2s():
    transformers = pytest.importorskip("transformers")
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

    C, head = 64, Attentive4Head((7, 64), 5)
    config = transformers.VJEPA2Config(
        hidden_size=C, num_attention_heads=head.heads, num_pooler_layers=3, layer_norm_eps=1e-5
    )
    config._attn_implementation = "sdpa"  # the other takes its softmax in fp32
    reference = VJEPA2AttentivePooler(config).double().eval()
    parameters, x = perturbed(head, 2), draw(3, 7, C).double()
    found = head.logits(parameters, x)
    for number in range(2):
        p = {name: value[number] for name, value in parameters.items()}
        state = {"query_tokens": p["query"].view(1, 1, C)}
        places = [(f"blocks.{k}", f"self_attention_layers.{k}") for k in range(3)]
        for ours, theirs in [*places, ("cross", "cross_attention_layer")]:
            for part in ("weight", "bias"):
                for a, b in (("norm1", "layer_norm1"), ("norm2", "layer_norm2")):
                    state[f"{theirs}.{b}.{part}"] = p[f"{ours}.{a}.{part}"]
                for layer in ("fc1", "fc2"):
                    state[f"{theirs}.mlp.{layer}.{part}"] = p[f"{ours}.{layer}.{part}"]
                if ours == "cross":
                    both = zip("kv", p[f"cross.kv.{part}"].chunk(2), strict=True)
                    own = {"q": p[f"cross.q.{part}"], **dict(both)}
                    attention = f"{theirs}.cross_attn"
                else:
                    own = dict(zip("qkv", p[f"{ours}.qkv.{part}"].chunk(3), strict=True))
                    attention = f"{theirs}.self_attn"
                    state[f"{attention}.out_proj.{part}"] = p[f"{ours}.proj.{part}"]
                state |= {f"{attention}.{key}_proj.{part}": value for key, value in own.items()}
        reference.load_state_dict(state)
        expected = reference(x) @ p["weight"].T + p["bias"]
        torch.testing.assert_close(found[number], expected, rtol=1e-9, atol=1e-9)


def test_the_head_of_four_blocks_starts_as_vjepa2s():
    starts = Attentive4Head((7, 64), 5).starts()
    names = [*(f"blocks.{number}" for number in range(3)), "cross"]
    found = [starts[f"{name}.fc2.weight"].std for name in names]
    # Blocks count from 1, and the cross-attention has the last one's.
    assert found == pytest.approx([0.02 / (2 * number) ** 0.5 for number in (1, 2, 3, 3)])


@pytest.mark.parametrize(("kind", "shape"), KINDS)
def test_a_stack_trains_as_each_of_its_heads_alone(kind, shape):
    n, K = 20, 3
    features = HeldFeatures(3 * draw(n, 2, *shape) + 1)
    samples = TrainingSamples.of(torch.arange(n), (0, 1), torch.arange(n) % K)
    moments, head = standard(kind, features, samples), kind(shape, K)
    lr, decay = torch.tensor([1e-2, 1e-3, 3e-3]), torch.tensor([0.1, 0.5, 0.0])
    weights = torch.stack([torch.ones(2 * n), (samples.clips % 4 > 0).float(), torch.ones(2 * n)])
    options = {"standard": moments, "training": Training(2, 6, batch_size=8)}
    stack = train(head, features, samples, weights, lr=lr, decay=decay, **options)
    start = head.initial(seed=0, count=1)
    # The mean query's first classifier is so small that AdamW makes steps of rounded gradients.
    atol = 1e-4 if kind is MeanQueryHead else 1e-5
    for row in range(3):
        one = slice(row, row + 1)
        alone = train(
            head, features, samples, weights[one], lr=lr[one], decay=decay[one], **options
        )
        for name, value in alone.items():
            torch.testing.assert_close(stack[name][one], value, rtol=1e-4, atol=atol)
        assert any((alone[name] - start[name]).abs().max() > 1e-3 for name in alone)


def test_samples_without_weight_teach_nothing():
    features = HeldFeatures(draw(8, 1, 4))
    labels = torch.arange(8) % 2
    options = {
        "lr": torch.tensor([1e-2]),
        "decay": torch.tensor([0.0]),
        "training": Training(1, 20, batch_size=8),
        "standard": Standard(torch.zeros(4), torch.ones(4)),
    }
    weights = (torch.arange(8) < 6).float()[None]
    found = []
    for last in (0, 1):
        labels[6:] = last
        samples = TrainingSamples.of(torch.arange(8), (0,), labels)
        found.append(train(LinearHead((4,), 2), features, samples, weights, **options)["weight"])
    assert torch.equal(*found)


def test_memory_bounds_change_nothing(monkeypatch):
    from ivn.evaluate.heads import training as module

    head, features = AttentiveHead((6, 64), 3), HeldFeatures(draw(12, 1, 6, 64))
    samples = TrainingSamples.of(torch.arange(12), (0,), torch.arange(12) % 3)
    moments = standard(AttentiveHead, features, samples)

    def run():
        return train(
            head,
            features,
            samples,
            torch.ones(4, 12),
            lr=torch.full((4,), 1e-2),
            decay=torch.full((4,), 0.1),
            standard=moments,
            training=Training(1, 4, batch_size=12),
        )

    whole = run()
    every = 4 * head.held()
    for floats in (every * 2, every + head.floats() * 4 * 5, head.held() * 4, 1):
        monkeypatch.setattr(module, "_FLOATS", {"cpu": floats, "cuda": 0})
        for name, value in run().items():
            torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [LinearHead, AttentiveHead, Attentive4Head, MeanQueryHead])
def test_parameters_and_moments_are_within_the_memory_too(kind, monkeypatch):
    """What is alive in a step: H heads with gradients and moments, and the samples of a pass."""
    from ivn.evaluate.heads import training as module

    shape = (256,) if kind is LinearHead else (4, 64)
    head, features = kind(shape, 9), HeldFeatures(draw(12, 1, *shape))
    samples = TrainingSamples.of(torch.arange(12), (0,), torch.arange(12) % 9)
    budget = 2 * 5 * head.held()
    monkeypatch.setattr(module, "_FLOATS", {"cpu": budget, "cuda": 0})
    passes = []
    logits = kind.logits

    def watched(self, parameters, x):
        passes.append((sum(value.numel() for value in parameters.values()), len(x)))
        return logits(self, parameters, x)

    monkeypatch.setattr(kind, "logits", watched)
    trained = train(
        head,
        features,
        samples,
        torch.ones(20, 12),
        lr=torch.full((20,), 1e-2),
        decay=torch.full((20,), 0.1),
        standard=standard(kind, features, samples),
        training=Training(1, 1, batch_size=12),
    )
    one = sum(value[0].numel() for value in trained.values())
    assert head.held() == 4 * one
    for numbers, count in passes:
        heads = numbers // one
        assert 4 * numbers + heads * count * head.floats() <= budget
    assert max(numbers for numbers, _ in passes) == 5 * one
    passes.clear()
    probabilities(
        head,
        trained,
        features,
        torch.arange(12),
        (0,),
        standard=standard(kind, features, samples),
        device="cpu",
    )
    assert max(numbers for numbers, _ in passes) == 5 * one


def test_the_optimizer_is_adamw_with_a_cosine():
    value = draw(2, 3, 4)
    lr, decay = torch.tensor([1e-2, 3e-3]), torch.tensor([0.5, 0.1])
    ours = {"weight": value.clone().requires_grad_()}
    optimizer = StackedAdamW(ours, lr, decay, steps=7)
    theirs = [value[row].clone().requires_grad_() for row in range(2)]
    adamw = [
        torch.optim.AdamW([theirs[row]], lr=float(lr[row]), weight_decay=float(decay[row]))
        for row in range(2)
    ]
    cosine = [torch.optim.lr_scheduler.CosineAnnealingLR(one, 7) for one in adamw]
    for step in range(7):
        gradient = draw(2, 3, 4, seed=step)
        ours["weight"].grad = gradient.clone()
        optimizer.step()
        for row in range(2):
            theirs[row].grad = gradient[row].clone()
            adamw[row].step()
            cosine[row].step()
    torch.testing.assert_close(ours["weight"].detach(), torch.stack(theirs).detach())


def test_probabilities_are_the_mean_over_views():
    head, features = LinearHead((5,), 3), HeldFeatures(draw(4, 3, 5))
    parameters = head.initial(seed=1, count=2)
    plain = Standard(torch.zeros(5), torch.ones(5))
    found = probabilities(
        head, parameters, features, torch.tensor([2, 0]), (0, 2), standard=plain, device="cpu"
    )
    x = features.features[[2, 0]][:, [0, 2]]
    expected = torch.einsum("nvc,hkc->hnvk", x, parameters["weight"]).softmax(3).mean(2)
    torch.testing.assert_close(found, expected)


def test_features_are_standardised_by_the_training_samples_alone():
    x = draw(6, 1, 3, 2, 4) * 5 + 2
    x[..., 3] = 7.0  # says nothing
    samples = TrainingSamples.of(torch.arange(4), (0,), torch.zeros(4))
    moments = standard(AttentiveHead, HeldFeatures(x), samples)
    seen = moments(x[:4]).flatten(0, -2)
    torch.testing.assert_close(seen.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(seen.std(0, correction=0), torch.tensor([1.0, 1, 1, 0]))
    assert moments(x[4:]).mean().abs() > 1e-3


def test_heads_are_as_many_as_the_width_allows():
    assert [attention_heads(C) for C in (1024, 768, 384, 192, 64, 12, 31)] == [
        16,
        16,
        12,
        6,
        2,
        1,
        1,
    ]
