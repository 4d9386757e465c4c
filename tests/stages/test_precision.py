"""In bf16 a step computes what it does in fp32, but for rounding; sums and gradients stay fp32."""

import pytest
import torch

from ivn.train.gradients import compute_gradients
from tests.small import random_batch, small_config, small_stage

pytest.importorskip("transformers")


@pytest.mark.parametrize("preset", ["stage1-tiny", "stage1-tiny-official", "stage2-tiny"])
def test_a_bf16_step_is_near_the_fp32_step(preset):
    losses, gradients = [], []
    for dtype in ("float32", "bfloat16"):
        config = small_config(preset, f"model.dtype={dtype}")
        stage = small_stage(config)
        batch = random_batch(stage)
        for term in stage.loss(batch).values():
            assert term.total.dtype == torch.float32
        losses.append(compute_gradients(stage, batch, 1).value)
        gradients.append({n: p.grad for n, p in stage.named_parameters() if p.grad is not None})
    torch.testing.assert_close(losses[1], losses[0], rtol=0.02, atol=0)
    ours, theirs = (torch.cat([g.flatten() for g in side.values()]) for side in gradients)
    assert ours.dtype == theirs.dtype == torch.float32
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.98
    assert not torch.equal(ours, theirs)  # or bf16 was not computed in
