"""The decoders beside their golden instance."""

import pytest
import torch

from ivn.keys import make_keys
from ivn.model.decoder import (
    DiffusionConfig,
    LatentHeadConfig,
    PixelHeadConfig,
    build_decoder,
)
from ivn.model.diffusion import cosine_schedule, posterior_mean, respaced, training_steps
from ivn.model.layers import materialise
from ivn.ops.diffusion import add_noise


def build(config, condition=16, target=12):
    with torch.device("meta"):
        decoder = build_decoder(config, condition=condition, target=target)
    materialise(decoder, torch.Generator().manual_seed(0))
    return decoder


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1000])
def test_a_respaced_schedule_passes_through_the_same_noise_levels(steps):
    full = cosine_schedule()
    short, kept = respaced(full, steps)
    assert len(kept) == steps == len(set(kept.tolist())) and kept[-1] == 999
    torch.testing.assert_close(short.alphas_cumprod, full.alphas_cumprod[kept], rtol=1e-6, atol=0)


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_numbers_of_steps_are_refused(steps):
    with pytest.raises(ValueError, match=f"steps is {steps}, expected 1 to 1000"):
        respaced(cosine_schedule(), steps)


def test_posterior_mean_is_bayes_rule():
    """Bayes' rule for two Gaussians: x_{t-1} given the target, and x_t given x_{t-1}."""
    schedule = cosine_schedule()
    t = torch.tensor([5, 400, 998])
    step, before = schedule.at(t, torch.float64), schedule.at(t - 1, torch.float64)
    target, x_t = torch.randn(2, 3, 4, dtype=torch.float64)
    prior_mean, prior_var = before.alphas_cumprod.sqrt() * target, 1 - before.alphas_cumprod
    alpha = 1 - step.betas
    precision = 1 / prior_var + alpha / step.betas
    expected = (prior_mean / prior_var + alpha.sqrt() * x_t / step.betas) / precision
    torch.testing.assert_close(posterior_mean(target, x_t, step), expected)
    torch.testing.assert_close(step.posterior_log_variance_clipped, -precision[:, :1].log())


class Oracle(torch.nn.Module):
    """A denoiser that knows the patches: every one is ``z``."""

    def __init__(self, decoder):
        super().__init__()
        self.time_embed = lambda t, dtype: t
        self.schedule = cosine_schedule()

    def forward(self, x, time, z):
        signal = self.schedule.alphas_cumprod[time].to(x.dtype)
        noise = (x - signal.sqrt() * z) / (1 - signal).sqrt()
        return torch.cat([noise, torch.zeros_like(noise)], -1)


@pytest.mark.parametrize("steps", [1, 10, 250])
def test_sampling_finds_what_a_perfect_denoiser_knows(steps):
    decoder = build(DiffusionConfig(depth=1, width=32), condition=12)
    decoder.net = Oracle(decoder)
    z = torch.randn(2, 5, 12, dtype=torch.float64)
    drawn = decoder.sample(z, make_keys(0, 0, [0, 1]), steps=steps)
    torch.testing.assert_close(drawn, z)


def test_a_limit_bounds_what_an_untrained_network_draws():
    decoder = build(DiffusionConfig(depth=1, width=32))
    z, keys = torch.randn(1, 8, 16), make_keys(0, 0, [0])
    assert decoder.sample(z, keys, steps=10).abs().max() > 10
    assert decoder.sample(z, keys, steps=10, limit=2.5).abs().max() <= 2.5


def test_sampling_depends_on_the_key_alone():
    decoder = build(DiffusionConfig(depth=1, width=32))
    z = torch.randn(2, 3, 16)
    keys = make_keys(0, 0, [4, 5])
    both = decoder.sample(z, keys, steps=5)
    torch.testing.assert_close(decoder.sample(z[1:], keys[1:], steps=5), both[1:])
    assert not torch.allclose(decoder.sample(z, make_keys(1, 0, [4, 5]), steps=5), both)


@pytest.mark.parametrize("rows", [6, 1200])
def test_the_training_loss_is_its_terms_at_a_keyed_step(rows):
    decoder = build(DiffusionConfig(depth=2, width=32))
    target, z = torch.randn(2, rows, 12), torch.randn(2, rows, 16)
    keys = make_keys(0, 0, [0, 1])
    whole = decoder.loss(target, z, keys)
    assert whole.shape == (2, rows)
    torch.testing.assert_close(decoder.loss(target[:1], z[:1], keys[:1]), whole[:1])
    assert not torch.allclose(decoder.loss(target, z, make_keys(0, 1, [0, 1])), whole)


def test_more_rows_than_steps_embed_every_step_once_to_the_same_result():
    decoder = build(DiffusionConfig(depth=1, width=32))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    target, noise, z = torch.randn(1500, 12), torch.randn(1500, 12), torch.randn(1500, 16)
    t = torch.randint(0, 1000, (1500,))
    many = decoder.loss_terms(target, z, t, noise)
    few = decoder.loss_terms(target[:100], z[:100], t[:100], noise[:100])
    for ours, theirs in zip(many, few, strict=True):
        torch.testing.assert_close(ours[:100], theirs)


def test_the_variational_term_moves_only_the_variance():
    decoder = build(DiffusionConfig(depth=1, width=32))
    t = torch.randint(0, 1000, (8,))
    z = torch.randn(8, 16)
    terms = decoder.loss_terms(torch.randn(8, 12), z, t, torch.randn(8, 12))
    terms.variational.sum().backward()
    gradient = decoder.net.final_layer.linear.bias.grad
    assert not gradient[:12].any() and gradient[12:].all()


def test_noise_fades_the_target_as_the_schedule_says():
    target, noise = torch.ones(2, 3), torch.zeros(2, 3)
    steps = training_steps(target.device, target.dtype)
    x = add_noise(target, noise, torch.tensor([0, 999]), steps)
    assert x[0, 0] > 0.999 and x[1, 0] < 1e-3


@pytest.mark.parametrize("depth", [1, 3])
def test_pixel_heads_have_their_depth_and_learn(depth):
    head = build(PixelHeadConfig(depth=depth, width=32))
    assert sum(isinstance(module, torch.nn.Linear) for module in head.modules()) == depth
    target, z = torch.randn(2, 5, 12), torch.randn(2, 5, 16)
    keys = make_keys(0, 0, [0, 1])
    loss = head.loss(target, z, keys)
    expected = (head.sample(z, keys) - target).square().mean(-1)
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    assert all(p.grad.any() for p in head.parameters())


def test_a_latent_head_gives_normalised_rows():
    head = build(LatentHeadConfig(), target=24)
    out = head(torch.randn(2, 5, 16))
    assert out.shape == (2, 5, 24)
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("step", [-1, 1000])
def test_steps_outside_the_schedule_are_refused(step):
    decoder = build(DiffusionConfig(depth=1, width=32))
    t = torch.tensor([5, step])
    with pytest.raises(ValueError, match=r"loss_terms: timestep holds .*, expected 0 to 999"):
        decoder.loss_terms(torch.randn(2, 12), torch.randn(2, 16), t, torch.randn(2, 12))
