import pytest
import torch

from ivn.train.gradients import compute_gradients

from .real import small
from .toy import ToyLoader, ToyStage


def gradients(micro_batches: int, *, uneven: bool):
    stage = ToyStage(uneven=uneven).double()
    for parameter in stage.parameters():  # what an earlier step has left must not count
        parameter.grad = torch.ones_like(parameter)
    loss = compute_gradients(stage, next(ToyLoader()), micro_batches)
    return loss, {name: parameter.grad for name, parameter in stage.named_parameters()}


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("micro_batches", [2, 8])
def test_micro_batches_give_the_large_batch(micro_batches, uneven):
    whole, parts = gradients(1, uneven=uneven), gradients(micro_batches, uneven=uneven)
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-14)


def test_uneven_counts_do_differ_from_a_mean_of_means():
    stage, batch = ToyStage(uneven=True), next(ToyLoader())
    whole = compute_gradients(stage, batch, 1).means["absolute"]
    means = [compute_gradients(stage, batch.part(i, i + 4), 1).means["absolute"] for i in (0, 4)]
    assert abs(sum(means) / 2 - whole) > 1e-4 * whole


@pytest.mark.parametrize(("uneven", "passes"), [(False, 1), (True, 2)])
def test_only_uneven_counts_take_a_second_pass(uneven, passes):
    class Counting(ToyStage):
        calls = 0

        def loss(self, batch):
            self.calls += 1
            return super().loss(batch)

    stage = Counting(uneven=uneven)
    compute_gradients(stage, next(ToyLoader()), 4)
    assert stage.calls == 4 * passes


def test_fp32_micro_batches_agree_to_rounding():
    results = []
    for micro_batches in (1, 2, 8):
        stage = ToyStage()
        loss = compute_gradients(stage, next(ToyLoader()), micro_batches)
        results.append((loss.value, [parameter.grad for parameter in stage.parameters()]))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-8)


def test_gradient_is_that_of_weighted_means():
    stage = ToyStage(uneven=True)
    batch = next(ToyLoader())
    loss = compute_gradients(stage, batch, 2)
    found = stage.encoder.weight.grad
    terms = stage.loss(batch)
    value = sum(stage.loss_weights[name] * t.total / t.count for name, t in terms.items())
    (expected,) = torch.autograd.grad(value, stage.encoder.weight)
    torch.testing.assert_close(found, expected)
    assert loss.value.item() == pytest.approx(value.item())


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="8 clips do not divide into 3"):
        compute_gradients(ToyStage(), next(ToyLoader()), 3)


def test_terms_without_a_weight_are_refused():
    stage = ToyStage()
    stage.loss_weights = {"squared": 1.0}
    with pytest.raises(ValueError, match="absolute"):
        compute_gradients(stage, next(ToyLoader()), 1)


# So that every block shows in the gradient; drop_path is 0.3 in all of these.
LIVELY = ["model.encoder.layer_scale=0.1"]
STAGES = {
    "stage1": ("stage1-tiny", ["stage.align_pooled=true", *LIVELY]),
    "stage1 official": ("stage1-tiny-official", LIVELY),
    "stage2": ("stage2-tiny", ["stage.teacher_drop_path=true", *LIVELY]),
    "stage2 packed": ("stage2-tiny", ["stage.views.0.truncate=none", *LIVELY]),
}
# A softmax does not see what shifts all of its keys: these gradients are 0 but for rounding.
SHIFTS = ("clip_projector.norm1_k.bias", "clip_projector.cross_attn.k_bias")


@pytest.mark.parametrize(("preset", "changes"), STAGES.values(), ids=STAGES)
def test_real_stages_do_not_see_how_their_batch_is_divided(preset, changes):
    """8 x 1, 4 x 2, 2 x 4 and 1 x 8 bundled clips: losses and each parameter's gradient."""
    stage, batch = small(preset, *changes)
    results = {}
    for micro_batches in (1, 2, 4, 8):
        loss = compute_gradients(stage, batch, micro_batches)
        gradients = {k: p.grad.clone() for k, p in stage.named_parameters() if p.grad is not None}
        results[micro_batches] = loss, gradients
    whole, expected = results.pop(1)
    largest = max(gradient.abs().max() for gradient in expected.values())
    # Sums over 8 clips in another order, through some twenty layers: tens of roundings.
    rounding = 32 * torch.finfo(torch.float32).eps
    for loss, gradients in results.values():
        torch.testing.assert_close(loss, whole, rtol=rounding, atol=0)
        assert gradients.keys() == expected.keys()
        for name, gradient in gradients.items():
            zero = name.endswith(SHIFTS)
            scale = 1e-4 * largest if zero else expected[name].abs().max()
            assert (gradient - expected[name]).abs().max() <= rounding * scale, name
