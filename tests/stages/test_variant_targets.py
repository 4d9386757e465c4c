"""What stage two begins with, follows and adds: table 3 of the paper."""

from itertools import pairwise

import pytest
import torch
from torch import nn

pytest.importorskip("rich")
pytest.importorskip("transformers")

from ivn.keys import Purpose
from ivn.ops.random import integers, normal
from ivn.stages.build import initialise
from ivn.stages.terms import Term
from ivn.train import checkpoint, folder
from ivn.train.gradients import compute_gradients
from ivn.train.loop import pretrain
from ivn.train.optimizer import OptimConfig, make_optimizer
from ivn.train.settings import EfficiencyConfig, RunConfig
from tests.small import random_batch, small_config, small_stage
from tests.stages.variants import (
    PIXELS,
    S1,
    S2,
    VISIBLE,
    VIT,
    assert_changes,
    assert_same,
    build,
    of,
    teacher,
)


@pytest.fixture(scope="module")
def stage1_run(tmp_path_factory):
    """The parts of a stage one, saved as a run saves them."""
    config = small_config(S1)
    stage = build(S1)
    from ivn.config.run import to_dict

    run = tmp_path_factory.mktemp("run")
    checkpoint.save(run, 1, {}, parts=stage.parts, config=to_dict(config), keep_last=1)
    return run, stage


MOMENTUM = ["stage.target.kind=momentum", "stage.target.momentum=0.5"]
TAUGHT = teacher("stage.target")


def test_by_default_encoder_target_and_predictor_begin_as_stage_one_left_them(stage1_run):
    run, before = stage1_run
    stage = small_stage(small_config(S2))
    assert initialise(stage, run) == (["encoder", "predictor"], ["decoder"])
    for part, theirs in (
        (stage.encoder, before.encoder),
        (stage.teacher, before.encoder),
        (stage.predictor, before.predictor),
    ):
        assert_same(part, theirs)


@pytest.mark.parametrize("predictor", [[], VIT], ids=["modernbert", "vit"])
def test_start_encoder_takes_the_encoder_alone(stage1_run, predictor):
    run, before = stage1_run
    stages = [
        small_stage(small_config(S2, "stage.start=encoder", *predictor, *MOMENTUM)) for _ in "ab"
    ]
    stage, untouched = stages
    assert initialise(stage, run) == (["encoder"], ["predictor", "decoder"])
    assert_same(stage.encoder, before.encoder)
    assert_same(stage.teacher, before.encoder)
    assert_same(stage.predictor, untouched.predictor)


def test_a_predictor_of_another_kind_is_not_taken(stage1_run):
    run, _ = stage1_run
    with pytest.raises(ValueError, match=r"predictor\.kind is modernbert.*predictor\.kind is vit"):
        initialise(small_stage(small_config(S2, *VIT)), run)


def steps(stage, config, count: int, batch) -> list[dict[str, torch.Tensor]]:
    """The encoder's weights after each of some optimiser steps."""
    optimizer, found = make_optimizer(stage.parameter_groups(), stage, config.optim), []
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    for _ in range(count):
        compute_gradients(stage, batch, 1)
        optimizer.step()
        stage.after_step(torch.tensor(True))
        found.append({k: v.clone() for k, v in stage.encoder.state_dict().items()})
    return found


def test_a_momentum_target_is_the_running_mean_of_the_encoder():
    config, stage = small_config(S2, *MOMENTUM), build(S2, *MOMENTUM)
    assert_same(stage.teacher, stage.encoder)
    first = {k: v.clone() for k, v in stage.encoder.state_dict().items()}
    later = steps(stage, config, 4, random_batch(stage))
    moved = 0
    for name, value in stage.teacher.state_dict().items():
        weights = [later[i][name] * 0.5 ** (4 - i) for i in range(4)]
        torch.testing.assert_close(value, 0.5**4 * first[name] + sum(weights), rtol=0, atol=1e-6)
        moved += not torch.equal(value, first[name])
    assert moved > 20
    assert all(p.grad is None for p in stage.teacher.parameters())


def test_a_momentum_target_stays_where_a_step_was_skipped(tmp_path):
    """The loop's second step is not finite."""
    stage = build(S2, *MOMENTUM)
    seen, loss = [], stage.loss

    class Loader:
        step, steps_per_epoch, prefetch = 0, 4, 2

        def __next__(self):
            seen.append({k: v.clone() for k, v in stage.teacher.state_dict().items()})
            return random_batch(stage)

        def close(self):
            seen.append(stage.teacher.state_dict())

    def spoilt(batch):
        factor = torch.nan if len(seen) == 2 else 1.0
        return {k: Term(factor * t.total, t.count) for k, t in loss(batch).items()}

    stage.loss = spoilt
    optim = OptimConfig(4, epochs=1, steps=4, lr=1e-2, lr_scaling="none")
    run, efficiency = RunConfig(log_every=1), EfficiencyConfig(device="cpu")
    with folder.locked(tmp_path):
        pretrain(stage, Loader(), tmp_path, config={}, optim=optim, run=run, efficiency=efficiency)
    name = "blocks.0.attn.qkv.weight"
    moves = [not torch.equal(a[name], b[name]) for a, b in pairwise(seen)]
    assert moves == [True, False, True, True]
    torch.testing.assert_close(seen[1], seen[2], rtol=0, atol=0)


@pytest.mark.parametrize("target", [[], TAUGHT], ids=["start", "teacher"])
def test_a_frozen_target_stays(target):
    config, stage = small_config(S2, *target), build(S2, *target)
    batch = random_batch(stage)
    before = stage.target(batch).clone()
    first, *_, last = steps(stage, config, 2, batch)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], last["blocks.0.attn.qkv.weight"])
    with torch.no_grad():
        assert torch.equal(stage.eval().target(batch), before)


def test_another_target_changes_the_latent_heads_last_layer_alone(rows):
    baseline, row = rows(S2), rows(S2, *TAUGHT)
    assert row.terms == baseline.terms == {"view1", "view2"}
    assert row.trained == baseline.trained
    assert_changes(row, baseline, "decoder")
    other = {
        name for name in row.trained if row.gradients[name].shape != baseline.gradients[name].shape
    }
    assert other == {
        f"decoder.{x}" for x in ("head.2.weight", "head.2.bias", "norm.weight", "norm.bias")
    }
    assert set(row.batch.clips) == {"student", "target"}
    assert not any(name.startswith("teacher.") for name in row.stage.state_dict())


def test_another_target_is_the_teachers_last_tap_at_the_masked_tokens():
    changes = [*TAUGHT[:-2], "stage.target.taps=[1, 3]", TAUGHT[-1], "model.encoder.drop_path=0"]
    stage = build(S2, *changes)
    batch = random_batch(stage)
    teacher = stage.teachers["target"].network
    assert stage.teacher is None and teacher.network.taps == (3,)
    told = teacher(batch.clips["target"], attention=False).layers[-1]
    assert torch.equal(stage.target(batch), told)
    terms = stage.loss(batch)
    for view in (0, 1):
        visible, masked = stage.mask(batch, view=view)
        predicted = stage.student(batch.clips["student"], visible, masked, view=view).predicted
        theirs = told.gather(1, masked[..., None].expand(-1, -1, told.shape[-1]))
        cosine = nn.functional.cosine_similarity(stage.decoder(predicted), theirs, dim=-1)
        term = terms[f"view{view + 1}"]
        torch.testing.assert_close(term.total / term.count, (2 - 2 * cosine).mean())


def test_visible_alignment_adds_a_term_and_heads(rows):
    baseline, row = rows(S2), rows(S2, *VISIBLE)
    assert row.terms == baseline.terms | {"layers"}
    assert row.trained - of(row.trained, "alignment") == baseline.trained
    assert_changes(row, baseline, "alignment")
    ours = of(row.trained, "alignment")
    assert ours == {n for n in of(rows(S1).trained, "alignment")}
    for view in ("view1", "view2"):
        torch.testing.assert_close(row.loss.means[view], baseline.loss.means[view])


def test_the_pixel_loss_adds_a_term_and_a_decoder(rows):
    baseline, row = rows(S2), rows(S2, *PIXELS)
    assert row.terms == baseline.terms | {"pixels"}
    own = of(row.trained, "pixel_decoder")
    assert row.trained - own == baseline.trained
    assert_changes(row, baseline, "pixel_decoder")
    assert {n.removeprefix("pixel_") for n in own} == of(rows(S1).trained, "decoder")


def test_stage_twos_added_terms_are_means_over_the_tokens_of_all_views():
    uneven = ["stage.views.1.max_keep=0.1", "model.encoder.drop_path=0"]
    stage = build(S2, *VISIBLE, *PIXELS, *uneven)
    batch = random_batch(stage)
    terms = stage.loss(batch)
    told = stage.semantic.look(batch).layers[0]
    (head,) = stage.alignment.layers
    cosines, errors = [], []
    for view in (0, 1):
        visible, masked = stage.mask(batch, view=view)
        seen = stage.student(batch.clips["student"], visible, masked, view=view)
        theirs = told.gather(1, visible[..., None].expand(-1, -1, told.shape[-1]))
        ours = head(seen.tapped_layers[0])
        cosines.append(nn.functional.cosine_similarity(ours, theirs, dim=-1).flatten())
        target = stage.pixel_target(batch.clips["student"], masked)
        found = stage.pixel_decoder.loss(target, seen.predicted, batch.keys, layer=view + 1)
        errors.append(found.flatten())
    assert len(cosines[0]) != len(cosines[1])
    for name, values in (("layers", [-c for c in cosines]), ("pixels", errors)):
        found = terms[name].total / terms[name].count
        torch.testing.assert_close(found, torch.cat(values).mean(), rtol=1e-5, atol=1e-6)


def test_no_two_passes_under_one_key_draw_the_same_noise():
    """Stage one's, and those of stage two's views, for the same clip, seed and epoch."""
    drawn = []
    for preset, changes in ((S1, []), (S2, PIXELS)):
        stage = build(preset, *changes)
        batch = random_batch(stage)
        decoder = stage.decoder if preset == S1 else stage.pixel_decoder
        original = decoder.loss

        def spy(target, z, keys, *, layer=0, original=original):
            drawn.append(layer)
            return original(target, z, keys, layer=layer)

        decoder.loss = spy
        stage.loss(batch)
    assert drawn == [0, 1, 2]
    numbers = [normal(batch.keys, Purpose.NOISE, 8, layer=layer) for layer in drawn]
    times = [integers(batch.keys, Purpose.TIMESTEP, 64, 1000, layer=layer) for layer in drawn]
    for found in (numbers, times):
        assert not any(torch.equal(found[i], found[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
