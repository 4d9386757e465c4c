import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from ivn.stages.stage1 import Stage1
from ivn.train.gradients import compute_gradients
from ivn.train.health import CollapseAlarm, HealthCheck, evaluating, feature_spread
from ivn.train.optimizer import OptimConfig, clip_gradients
from ivn.train.settings import RunConfig
from tests.logged import log
from tests.stages.test_no_waiting import NoWaiting

from .real import small
from .test_loop import DyingLoader, Killed
from .toy import BATCH, CLIPS, OPTIM, Term, ToyLoader, ToyStage, train


def spread(features):
    return tuple(value.item() for value in feature_spread(features))


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_spread_is_that_of_its_formula():
    features = normal(5, 7, 6) @ normal(6, 6, seed=1) + normal(1, 7, 6, seed=2)
    rest = features - features.mean(0)
    singular = torch.linalg.svdvals(rest.flatten(0, 1))
    variance = rest.square().sum() / (4 * 7) / 6
    share = singular.square() / singular.square().sum()
    rank = math.exp(-sum(p * math.log(p) for p in share.tolist()))
    expected = (variance.sqrt() / features.square().mean().sqrt()).item()
    assert spread(features) == pytest.approx((expected, rank), rel=1e-12)
    assert spread(features.float()) == pytest.approx((expected, rank), rel=1e-5)
    assert spread(features.bfloat16()) == pytest.approx((expected, rank), rel=2e-2)


@pytest.mark.parametrize("directions", [1, 3, 8])
def test_rank_counts_directions_of_equal_size(directions):
    signs = torch.tensor([1.0, -1.0])[:, None, None]
    features = signs * torch.eye(8)[:directions]  # two clips, a direction for each token
    assert spread(features)[1] == pytest.approx(directions, rel=1e-5)


def test_what_positions_alone_bring_does_not_count():
    features = normal(1, 16, 8).expand(4, -1, -1) + 1e-3 * normal(4, 16, 8, seed=1)
    assert spread(features)[0] == pytest.approx(1e-3, rel=0.2)


def test_scale_changes_nothing():
    features = normal(3, 4, 5)
    assert spread(features) == pytest.approx(spread(1e6 * features))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("clips", [2, 3, 7])
def test_equal_clips_have_no_spread(clips, dtype):
    features = normal(1, 16, 8).expand(clips, -1, -1).to(dtype)
    assert spread(features) == (0, 1)


@pytest.mark.parametrize("clips", [1, 2])
def test_zero_features_have_no_spread(clips):
    assert spread(torch.zeros(clips, 4, 3)) == (0, 1)


def test_a_single_clip_spreads_over_its_tokens():
    features = normal(1, 4000, 4) + 1
    assert spread(features) == pytest.approx((0.5**0.5, 4), rel=0.05)
    assert spread(normal(1, 1, 4)) == (0, 1)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_features_that_are_not_finite_give_nan(value):
    features = normal(2, 4, 3, dtype=torch.float32)
    features[1, 2, 0] = value  # 1e30 is finite, its square is not
    assert all(math.isnan(number) for number in spread(features))


def check_of_a_step(clip_norm=1e-3, batch=None):
    """The health of a toy's step, with what it is measured on."""
    stage, batch = ToyStage(), batch or next(ToyLoader())
    loss = compute_gradients(stage, batch, 1)
    gradients = {name: p.grad.clone() for name, p in stage.named_parameters()}
    before = {name: p.detach().clone() for name, p in stage.named_parameters()}
    check = HealthCheck(stage, batch)
    clip_gradients(stage.parameters(), clip_norm)
    torch.optim.SGD(stage.parameters(), lr=10.0).step()
    check.stepped()
    changes = {name: p.detach() - before[name] for name, p in stage.named_parameters()}
    means = {name: mean.item() for name, mean in loss.means.items()}
    return check.fetch(means), gradients, changes


def test_norms_are_of_the_gradient_before_clipping_and_of_the_change():
    health, gradients, changes = check_of_a_step()
    for name, tensors in {"grad_norm": gradients, "update_norm": changes}.items():
        assert list(health[name]) == ["encoder", "decoder"]
        for part, value in health[name].items():
            own = [t.flatten() for key, t in tensors.items() if key.startswith(part)]
            assert value == pytest.approx(torch.cat(own).norm().item(), rel=1e-5)
    assert sum(v**2 for v in health["update_norm"].values()) ** 0.5 == pytest.approx(1e-2, rel=1e-3)


def test_frozen_parameters_and_parts_have_no_norms():
    stage, batch = ToyStage(), next(ToyLoader())
    stage.decoder.requires_grad_(False)
    stage.encoder.bias.requires_grad_(False)
    compute_gradients(stage, batch, 1)
    check = HealthCheck(stage, batch)
    check.stepped()
    health = check.fetch({"squared": 0.5})
    expected = stage.encoder.weight.grad.norm().item()
    assert health["grad_norm"] == {"encoder": pytest.approx(expected)}
    assert health["update_norm"] == {"encoder": 0}


def test_modes_are_as_they_were_even_after_an_error():
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)))
    module.train()
    module[1][0].eval()
    before = [each.training for each in module.modules()]
    with pytest.raises(KeyError), evaluating(module):
        assert not any(each.training for each in module.modules())
        raise KeyError
    assert [each.training for each in module.modules()] == before


def test_lines_of_fetched_steps_have_health(tmp_path):
    optim = replace(OPTIM, clip_norm=0.01)
    train(tmp_path, optim=optim, run=RunConfig(log_every=7, save_every=4))
    lines = log(tmp_path)
    assert [line["step"] for line in lines if "health" in line] == [7, 14, 21, 28, 30]
    for line in lines:
        if "health" in line:
            health = line["health"]
            whole = sum(value**2 for value in health["grad_norm"].values()) ** 0.5
            assert whole == pytest.approx(line["grad_norm"], rel=1e-5)
            assert health["cosine"] == {"squared": pytest.approx(1 - line["terms"]["squared"])}
            assert 0 < health["feature_std"] < 2
            assert 1 < health["effective_rank"] < 16
            assert all(value > 0 for value in health["update_norm"].values())


def test_a_skipped_step_changes_nothing_and_has_no_gradient_norm(tmp_path):
    train(tmp_path, stage=ToyStage(bad=(CLIPS + 3,)))
    health = log(tmp_path)[3]["health"]
    assert health["update_norm"] == {"encoder": 0, "decoder": 0}
    assert health["grad_norm"] == {"encoder": None, "decoder": None}
    assert health["feature_std"] > 0


class Collapsing(ToyStage):
    """Pulls the features of all clips to one point."""

    def loss(self, batch):
        terms = super().loss(batch)
        distance = (self.features(batch) - 0.5).square().sum()
        return terms | {"squared": Term(100 * distance, torch.tensor(len(batch)))}


def collapse(run, stage):
    optim = OptimConfig(BATCH, steps=400, lr=1e-2, lr_scaling="none")
    train(run, stage=stage, optim=optim, run=RunConfig(log_every=5))
    return [line["step"] for line in log(run) if "warning" in line]


def test_a_collapse_is_told_once(tmp_path, capsys):
    (step,) = collapse(tmp_path, Collapsing())
    line = log(tmp_path)[step - 1]
    assert line["health"]["feature_std"] < 0.01 < log(tmp_path)[step - 6]["health"]["feature_std"]
    assert f"warning: step {step}: features have collapsed" in capsys.readouterr().out
    assert log(tmp_path)[-1]["health"]["feature_std"] < 0.01


def test_a_collapse_told_before_a_restart_is_not_told_again(tmp_path):
    optim = OptimConfig(BATCH, steps=400, lr=1e-2, lr_scaling="none")
    run = RunConfig(log_every=5, save_every=20)
    with pytest.raises(Killed):
        train(tmp_path, stage=Collapsing(), loader=DyingLoader(390), optim=optim, run=run)
    assert len([line for line in log(tmp_path) if "warning" in line]) == 1
    assert len(collapse(tmp_path, Collapsing())) == 1


def test_a_healthy_run_is_not_warned_of(tmp_path, capsys):
    assert collapse(tmp_path, ToyStage()) == []
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize("bad", [(0.001, 9.0), (0.5, 1.05)])
def test_each_beginning_of_a_collapse_is_told(bad):
    alarm = CollapseAlarm()
    good, unknown = (0.5, 9.0), (math.nan, math.nan)
    told = [
        bool(alarm.warning({"feature_std": std, "effective_rank": rank}))
        for std, rank in (good, bad, bad, good, unknown, bad)
    ]
    assert told == [False, True, False, False, False, True]


@pytest.mark.parametrize("preset", ["stage1-tiny", "stage2-tiny"])
def test_a_random_start_on_real_clips_is_healthy(preset):
    stage, batch = small(preset)
    loss = compute_gradients(stage, batch, 1)
    with NoWaiting():
        check = HealthCheck(stage, batch)
        check.stepped()
    before = [module.training for module in stage.modules()]
    health = check.fetch({name: mean.item() for name, mean in loss.means.items()})
    assert [module.training for module in stage.modules()] == before
    assert health["feature_std"] > 0.1
    assert health["effective_rank"] > 2
    assert list(health["grad_norm"]) == list(stage.parts)
    assert CollapseAlarm().warning(health) == ""


@pytest.mark.parametrize("alignment_loss", ["negative_cosine", "two_minus_two_cosine"])
def test_stage_one_s_cosines_are_those_behind_its_terms(alignment_loss):
    stage, batch = small(
        *("stage1-tiny", "stage.align_pooled=true", f"stage.alignment_loss={alignment_loss}"),
        batch_size=2,
    )
    assert isinstance(stage, Stage1)
    seen_by_teacher = stage.look(batch)
    visible, masked = stage.mask(batch, seen_by_teacher.attention)
    seen = stage.student(batch.clips["student"], visible, masked, keys=batch.keys)
    target = stage.semantic.targets(seen_by_teacher, visible)
    terms = stage.semantic.terms(seen.tapped_layers, seen.aligned_pooled, target)
    cosines = stage.cosines(
        {name: (term.total / term.count).item() for name, term in terms.items()} | {"pixels": 1.0}
    )
    pooled = nn.functional.cosine_similarity(seen.aligned_pooled, target.pooled).mean()
    heads = stage.alignment.layers
    aligned = torch.stack([head(x) for head, x in zip(heads, seen.tapped_layers, strict=True)])
    layers = nn.functional.cosine_similarity(aligned, torch.stack(target.layers), dim=-1).mean()
    expected = {"layers": layers.item(), "pooled": pooled.item()}
    assert cosines == pytest.approx(expected, abs=1e-5)
    assert abs(expected["pooled"]) > 1e-3


def test_stage_two_s_cosines_are_those_behind_its_terms():
    stage, batch = small("stage2-tiny", batch_size=2)
    predicted, target = (normal(2, 3, 48, seed=seed).float() for seed in (0, 1))
    term = stage.latent_term(predicted, target)
    decoded = stage.decoder(predicted)
    expected = nn.functional.cosine_similarity(decoded, target, dim=-1).mean().item()
    mean = (term.total / term.count).item()
    assert stage.cosines({"view1": mean}) == {"view1": pytest.approx(expected, abs=1e-6)}
    assert stage.cosines({name: 2.0 for name in stage.loss(batch)}) == {"view1": 0, "view2": 0}
