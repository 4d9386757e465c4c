"""A step never asks the device for a number: on a GPU the host would wait for it.

Here the device is the CPU, so an operator that would wait is known by its name. What runs on the
host by design, from the keys that stay there, is let through by the name of its function.
"""

import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ivn.data.batch import Batch
from ivn.stages.stage import Stage
from ivn.train.gradients import Loss, compute_gradients
from ivn.train.optimizer import SkippingAdamW, clip_gradients, make_optimizer
from tests.small import random_batch, small_config, small_stage
from tests.stages.variants import teacher

WAITING = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",
    "aten::unique_dim",
    "aten::_unique2",
}
# Masks of the host's keys, whose counts are sizes; and checks that are for the CPU alone.
ON_THE_HOST = {"_groups", "multi_block", "multi_block_packed", "check_range", "_check_weights"}


class NoWaiting(TorchDispatchMode):
    """Refuses operators whose result, or its size, the host would have to wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().partition(".")[0]
        boolean = name == "aten::index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if (name in WAITING or boolean) and not ON_THE_HOST & callers():
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


def callers() -> set[str]:
    frame, names = sys._getframe(1), set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names


STAGES = {
    "stage1": ("stage1-tiny", []),
    "stage1 official": ("stage1-tiny-official", []),
    **{
        f"stage1 {mask}": ("stage1-tiny", [f"stage.mask={mask}"])
        for mask in ("random", "tube", "frame_difference", "multi_block")
    },
    "stage1 pixel only": ("stage1-tiny", ["stage.layers_weight=0"]),
    "stage1 align only": (
        "stage1-tiny",
        ["stage.pixels_weight=0", *teacher("stage.second_teacher")],
    ),
    "stage2": ("stage2-tiny", []),
    "stage2 official": ("stage2-tiny-official", []),
    "stage2 momentum": ("stage2-tiny", ["stage.target.kind=momentum"]),
    "stage2 taught": ("stage2-tiny", teacher("stage.target")),
    "stage2 all terms": (
        "stage2-tiny",
        [
            *("stage.mask=semantic_topk", "stage.layers_weight=1", "stage.pixels_weight=1"),
            *("stage.pixel_decoder.width=32", *teacher("stage.teacher")),
        ],
    ),
    "stage2 groups": ("stage2-tiny", ["stage.mask_group=3", "stage.views.1.scale=0.4"]),
    "stage2 packed": ("stage2-tiny", ["stage.views.0.truncate=none", "stage.views.1.scale=0.4"]),
}


def step(stage: Stage, optimizer: SkippingAdamW, batch: Batch) -> Loss:
    loss = compute_gradients(stage, batch, 1)
    norm = clip_gradients(stage.parameters(), 1.0)
    good = loss.value.isfinite() & norm.isfinite()
    optimizer.step_if(good)
    stage.after_step(good)
    return loss


@pytest.mark.parametrize(("preset", "changes"), STAGES.values(), ids=STAGES)
def test_a_step_never_waits_for_the_device(preset, changes):
    config = small_config(preset, *changes)
    stage = small_stage(config)
    optimizer = make_optimizer(stage.parameter_groups(), stage, config.optim)
    batch = random_batch(stage)
    with NoWaiting():
        loss = step(stage, optimizer, batch)
    assert loss.value.isfinite()


@pytest.mark.gpu
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize(("preset", "changes"), STAGES.values(), ids=STAGES)
def test_a_step_on_a_gpu_never_waits_for_it(preset, changes, compute):
    config = small_config(preset, *changes)
    stage = small_stage(config).cuda()
    for part in stage.modules():
        if hasattr(part, "compute_dtype"):
            part.compute_dtype = getattr(torch, compute)
    optimizer = make_optimizer(stage.parameter_groups(), stage, config.optim)
    batch = random_batch(stage).to("cuda")

    step(stage, optimizer, batch)  # kernels are compiled, and tables made
    try:
        torch.cuda.set_sync_debug_mode("error")
        loss = step(stage, optimizer, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.value.isfinite()


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.unique(),
    ],
)
def test_what_waits_is_seen(wait):
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        wait(torch.randn(5))
