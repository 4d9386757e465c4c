"""Clips of different lengths end to end give what each clip gives alone, to fp64 rounding."""

import pytest
import torch

from ivn.data.batch import Batch
from ivn.keys import make_keys
from ivn.model.decoder import LatentHeadConfig
from ivn.model.encoder import CLS_TOKENS, EncoderConfig
from ivn.model.model import ModelConfig, build_model
from ivn.model.packed import Packed, take
from ivn.model.patch import normalised
from ivn.model.predictor import PredictorConfig
from ivn.stages.blocks import Blocks
from ivn.stages.stage2 import Stage2, Stage2Config
from ivn.train.gradients import compute_gradients

B, T, SIDE = 3, 3, 56
GRID = (T, 4, 4)
N = 48
VIEWS = (Blocks(2, 0.2, truncate="none"), Blocks(1, 0.5, truncate="none"))


@pytest.fixture
def stage():
    encoder = EncoderConfig(
        32, 2, 4, 32, image_height=SIDE, image_width=SIDE, num_frames=T, pool_heads=2,
        pool_width=8, drop_path=0.5, layer_scale=0.5,
    )  # fmt: skip
    predictor = PredictorConfig(16, 2, 24, layers=2, local_window=3, init="scratch")
    model = build_model(ModelConfig(encoder, predictor, LatentHeadConfig()), None, seed=0)
    config = Stage2Config(frames=T, size=SIDE, views=VIEWS)
    stage = Stage2(config, model, {}, global_batch=B).double().train()
    stage.encoder.compute_dtype = stage.teacher.compute_dtype = torch.float64
    with torch.no_grad():
        for parameter in stage.parameters():  # a start of zeros would hide a lost gradient
            parameter.add_(0.05 * torch.randn_like(parameter))
    return stage


@pytest.fixture
def batch():
    video = torch.randint(0, 256, (B, T, SIDE, SIDE, 3), dtype=torch.uint8)
    return Batch({"student": video}, make_keys(9, 4, range(B)))


def alone(index: Packed):
    return [part[None] for part in index.index.split(index.lengths)]


def test_a_packed_index_counts_from_each_clip_s_start():
    kept = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)
    index = Packed.where(kept)
    assert (index.index.tolist(), index.lengths) == ([0, 2, 3, 1], (3, 0, 1))
    assert index.rows(4).tolist() == [[0, 2, 3, 9]]
    tokens = torch.arange(24.0).view(3, 4, 2)
    assert torch.equal(take(tokens, index)[0], tokens[kept])


@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_packed_features_and_gradients_are_those_of_each_clip_alone(stage, batch, kind):
    video, keys = batch.clips["student"], batch.keys
    if kind == "float":
        video = normalised(video, torch.float64)
    visible, masked = stage.mask(batch, view=0)
    assert len(set(visible.lengths)) > 1
    together = stage.decoder(stage.student(video, visible, masked, keys=keys, view=0).predicted[0])
    rows = zip(alone(visible), alone(masked), strict=True)
    apart = [
        stage.decoder(
            stage.student(video[i : i + 1], seen, hidden, keys=keys[i : i + 1]).predicted[0]
        )
        for i, (seen, hidden) in enumerate(rows)
    ]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-9, atol=1e-9)
    weights = torch.randn_like(together)
    trained = {n: p for n, p in stage.named_parameters() if p.requires_grad}
    ours, theirs = (
        torch.autograd.grad((out * weights).sum(), list(trained.values()), retain_graph=True)
        for out in (together, torch.cat(apart))
    )
    for name, a, b in zip(trained, ours, theirs, strict=True):
        assert a.abs().max() > 0, name
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9 * float(b.abs().max()), msg=name)


def test_the_streams_of_a_packed_batch_begin_with_the_cls_tokens(stage, batch):
    visible, _ = stage.mask(batch, view=1)
    video = batch.clips["student"]
    hidden, tapped = stage.encoder.hidden(video, visible, taps=[0], keys=batch.keys)
    assert hidden.shape == tapped[0].shape == (1, B * CLS_TOKENS + sum(visible.lengths), 32)
    parts = tapped[0][0].split([CLS_TOKENS + length for length in visible.lengths])
    for i, (seen, part) in enumerate(zip(alone(visible), parts, strict=True)):
        one, only = stage.encoder.hidden(
            video[i : i + 1], seen, taps=[0], keys=batch.keys[i : i + 1]
        )
        torch.testing.assert_close(only[0][0], part)
        assert one.shape == only[0].shape


def test_packed_terms_count_every_masked_token(stage, batch):
    terms = stage.loss(batch)
    for view in range(2):
        _, masked = stage.mask(batch, view=view)
        assert int(terms[f"view{view + 1}"].count) == sum(masked.lengths)


def test_counts_are_known_before_the_first_micro_batch(stage, batch):
    told = stage.counts(batch)
    found = {name: int(term.count) for name, term in stage.loss(batch).items()}
    assert told == found
    calls = []
    original = stage.loss
    stage.loss = lambda part: calls.append(len(part)) or original(part)
    compute_gradients(stage, batch, B)
    assert calls == [1] * B  # none taken again


def test_micro_batches_of_packed_clips_give_the_whole_batch_s_gradients(stage, batch):
    gradients = []
    for micro_batches in (1, B):
        loss = compute_gradients(stage, batch, micro_batches)
        found = {n: p.grad for n, p in stage.named_parameters() if p.grad is not None}
        gradients.append((loss.value, found))
    (one, ours), (many, theirs) = gradients
    torch.testing.assert_close(one, many, rtol=1e-12, atol=0)
    for name in ours:
        atol = 1e-10 * float(ours[name].abs().max())
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=atol, msg=name)


@pytest.mark.parametrize(
    "keep",
    [
        Packed(torch.tensor([1, 2, 3]), (1, 2)),
        Packed(torch.tensor([1, 2, 3]), (1, 1, 2)),
        Packed(torch.tensor([1, 2, 48]), (1, 1, 1)),
        Packed(torch.tensor([1, 2, 3], dtype=torch.int32), (1, 1, 1)),
    ],
)
def test_packed_tokens_that_do_not_fit_are_refused(stage, batch, keep):
    with pytest.raises(ValueError, match="keep"):
        stage.eval().encoder.hidden(batch.clips["student"], keep)
