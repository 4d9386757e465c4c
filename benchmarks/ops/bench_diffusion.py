"""The denoiser's input and loss: ``noisy_target``, and ``diffusion_loss`` with its gradient."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ivn.benchmarks.harness.measure import Case
from ivn.benchmarks.ops.subjects import both_directions, total_bytes
from ivn.keys import Purpose, make_keys
from ivn.model.diffusion import STEPS, training_steps
from ivn.ops.diffusion import (
    ALIGNED,
    add_noise,
    diffusion_loss,
    diffusion_loss_reference,
    loss_terms,
    noisy_target,
    noisy_target_reference,
)

D = 588
_WORD = Purpose.NOISE << 24
# name, clips, masked tokens of each in stage one
SIZES = {
    "cpu": [("tiny", 8, 408), ("base", 1, 3264)],
    "cuda": [("stage 1", 16, 3264), ("stage 1, 48 clips", 48, 3264)],
}


def cases(size: tuple, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    name, B, P = size
    R = B * P
    keys, steps = make_keys(1, 2, range(B)).to(device), training_steps(device, torch.float32)
    target = torch.randn(R, D, device=device).clamp(-2, 2)
    timestep = torch.randint(STEPS, (R,), device=device)
    given = [target, keys, timestep, steps]

    def stored(dtype: torch.dtype) -> Tensor:
        """Computes the loss with PyTorch's own random numbers, which are written and read."""
        noise = torch.randn(R, D, device=device)
        x_t = add_noise(target, noise, timestep, steps)
        return torch.nn.functional.pad(x_t, (0, -D % ALIGNED)).to(dtype)

    yield from both_directions(
        f"noisy_target, {name}",
        f"{R} x {D}",
        {
            "ours": lambda *given: noisy_target(*given, dtype=dtype),
            "eager": lambda *given: noisy_target_reference(*given, _WORD, dtype),
        },
        given,
        dtype=dtype,
        moved=total_bytes(*given) + R * (D + -D % ALIGNED) * dtype.itemsize,
        others={"torch.randn": lambda: stored(dtype)},
    )

    output = torch.randn(R, 2 * D, device=device).to(dtype)
    # The target matters only in step 0: in one row of a thousand.
    little = total_bytes(keys, timestep, steps) + 8 * R
    noise = torch.randn(R, D, device=device)
    yield from both_directions(
        f"diffusion_loss, {name}",
        f"{R} x 2 x {D}",
        {
            "ours": lambda *given: tuple(diffusion_loss(*given)),
            "eager": lambda *given: tuple(diffusion_loss_reference(*given, _WORD)),
        },
        [output, *given],
        dtype=dtype,
        moved=output.nbytes + little,
        trained=[0],
        moved_back=2 * output.nbytes + little,
        others={
            "noise given": lambda: tuple(loss_terms(output.float(), target, noise, timestep, steps))
        },
    )
