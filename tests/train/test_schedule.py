import math

import pytest

from ivn.train.optimizer import OptimConfig
from ivn.train.schedule import learning_rate, total_steps, warmup_steps

CONFIG = OptimConfig(2048, epochs=62, lr=1e-3, min_lr=1e-5, lr_scaling="linear", warmup_epochs=7)


def test_linear_scaling_gives_the_released_peak_and_end():
    assert learning_rate(CONFIG, 700, 100) == pytest.approx(8e-3)
    assert learning_rate(CONFIG, 6200, 100) == pytest.approx(8e-5)


def test_warm_up_is_linear_from_zero():
    rates = [learning_rate(CONFIG, step, 100) for step in range(700)]
    assert rates[0] == 0
    assert rates == pytest.approx([8e-3 * step / 700 for step in range(700)])


def test_decay_is_half_a_cosine():
    unscaled = OptimConfig(64, epochs=10, lr=1.0, min_lr=0.2, lr_scaling="none")
    rates = [learning_rate(unscaled, step, 2) for step in range(21)]
    expected = [0.2 + 0.4 * (1 + math.cos(math.pi * step / 20)) for step in range(21)]
    assert rates == pytest.approx(expected)


def test_fixed_steps_keep_the_shape_of_the_schedule():
    short = OptimConfig(64, epochs=10, steps=20, warmup_epochs=2.5, lr_scaling="none")
    assert (total_steps(short, 1000), warmup_steps(short, 1000)) == (20, 5)
    assert learning_rate(short, 5, 1000) == short.lr
    assert learning_rate(short, 20, 1000) == pytest.approx(short.min_lr)


def test_a_fraction_of_an_epoch_is_at_least_a_step():
    assert total_steps(OptimConfig(epochs=0.25), 2) == 1
    assert total_steps(OptimConfig(epochs=2.5), 10) == 25


@pytest.mark.parametrize(
    "wrong",
    [
        *({"epochs": 0}, {"warmup_epochs": 60}, {"min_lr": 1}, {"batch_size": 0}, {"eps": 0}),
        *({"steps": -1}, {"weight_decay": -1}, {"clip_norm": -1}, {"betas": (0.9, 1.0)}),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OptimConfig(**wrong)
