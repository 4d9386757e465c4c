import copy

import pytest
import torch

from ivn.train.optimizer import OptimConfig, clip_gradients, load_optimizer, make_optimizer

from .toy import Group, ToyStage


def trained(steps: int = 2):
    stage = ToyStage()
    optimizer = make_optimizer(stage.parameter_groups(), stage, OptimConfig())
    for step in range(steps):
        for parameter in stage.parameters():
            parameter.grad = torch.full_like(parameter, 0.1 * (step + 1))
        optimizer.step()
    return stage, optimizer


def test_only_matrices_of_decaying_groups_decay():
    stage = ToyStage()
    encoder, decoder = stage.parameter_groups()
    groups = [encoder, decoder._replace(weight_decay=False)]
    optimizer = make_optimizer(groups, stage, OptimConfig(weight_decay=0.3))
    decay = {
        name: group["weight_decay"]
        for group in optimizer.param_groups
        for name in group["param_names"]
    }
    assert decay == {
        "encoder.weight": 0.3,
        "encoder.bias": 0,
        "decoder.weight": 0,
        "decoder.bias": 0,
    }


def test_a_trainable_parameter_in_no_group_is_an_error():
    stage = ToyStage()
    with pytest.raises(ValueError, match=r"decoder\.weight is trainable and in no group"):
        make_optimizer(stage.parameter_groups()[:1], stage, OptimConfig())


def test_a_parameter_in_two_groups_is_an_error():
    stage = ToyStage()
    again = Group("again", {"encoder.bias": stage.encoder.bias}, True)
    with pytest.raises(ValueError, match=r"encoder\.bias is in two groups"):
        make_optimizer([*stage.parameter_groups(), again], stage, OptimConfig())


def test_a_frozen_parameter_in_a_group_is_an_error():
    stage = ToyStage()
    stage.decoder.bias.requires_grad_(False)
    with pytest.raises(ValueError, match=r"decoder\.bias is frozen"):
        make_optimizer(stage.parameter_groups(), stage, OptimConfig())


def test_a_step_is_adamw():
    stage = ToyStage()
    config = OptimConfig(lr=1e-2, weight_decay=0.1)
    optimizer = make_optimizer(stage.parameter_groups(), stage, config)
    before = stage.encoder.weight.detach().double().clone()
    gradient = torch.linspace(-1, 1, before.numel()).view_as(before)
    for parameter in stage.parameters():
        parameter.grad = torch.zeros_like(parameter)
    stage.encoder.weight.grad = gradient.clone()
    optimizer.step()
    g = gradient.double()
    expected = before * (1 - 1e-2 * 0.1) - 1e-2 * g / (g.abs() + 1e-6)
    torch.testing.assert_close(stage.encoder.weight.double(), expected, rtol=1e-6, atol=1e-7)


def test_a_bad_step_changes_neither_weights_nor_state():
    stage, optimizer = trained()
    weights, state = copy.deepcopy(stage.state_dict()), copy.deepcopy(optimizer.state_dict())
    for parameter in stage.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    optimizer.step_if(torch.tensor(False))
    torch.testing.assert_close(stage.state_dict(), weights, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state_dict()["state"], state["state"], rtol=0, atol=0)
    for parameter in stage.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step_if(torch.tensor(True))
    assert not torch.equal(stage.encoder.weight, weights["encoder.weight"])


def test_state_of_other_parameters_is_refused():
    _, optimizer = trained()
    state = optimizer.state_dict()
    state["param_groups"][0]["param_names"] = ["encoder.wait"]
    with pytest.raises(ValueError, match="other parameters"):
        load_optimizer(optimizer, state)


def test_clipping_scales_all_gradients_together():
    stage = ToyStage()
    for parameter in stage.parameters():
        parameter.grad = torch.ones_like(parameter)
    count = sum(parameter.numel() for parameter in stage.parameters())
    norm = clip_gradients(stage.parameters(), 5.0)
    assert norm.item() == pytest.approx(count**0.5)
    clipped = torch.cat([parameter.grad.flatten() for parameter in stage.parameters()])
    assert clipped.norm().item() == pytest.approx(5.0, rel=1e-4)
    assert torch.equal(clipped, clipped[:1].expand_as(clipped))


def test_no_clipping_leaves_gradients_alone():
    stage = ToyStage()
    stage.encoder.bias.grad = torch.full_like(stage.encoder.bias, 100.0)
    clip_gradients(stage.parameters(), 0.0)
    assert (stage.encoder.bias.grad == 100).all()
