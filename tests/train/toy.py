"""A stage and a loader small enough to train hundreds of steps in a second."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ivn.data.batch import Batch, Replacement
from ivn.keys import Purpose, make_keys
from ivn.ops.random import normal, random_words, uniform
from ivn.train import folder
from ivn.train.loop import pretrain
from ivn.train.optimizer import OptimConfig
from ivn.train.settings import EfficiencyConfig, RunConfig

CLIPS = 24
BATCH = 8
PIXELS = 2 * 4 * 4 * 3
OPTIM = OptimConfig(BATCH, epochs=10, lr=1e-2, lr_scaling="none", warmup_epochs=1)


class Term(NamedTuple):
    total: Tensor
    count: Tensor


class Group(NamedTuple):
    name: str
    params: dict[str, nn.Parameter]
    weight_decay: bool


class ToyStage(nn.Module):
    """Restores noisy clips; ``uneven`` gives each clip's second term its own count.

    ``after_step`` keeps a slow copy, so that a stage's buffers are seen to resume too.
    """

    def __init__(self, *, uneven: bool = False, bad: tuple[int, ...] = ()) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.encoder = nn.Linear(PIXELS, 16)
        self.decoder = nn.Linear(16, PIXELS)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(std=0.1, generator=generator)
        self.register_buffer("slow", self.encoder.weight.detach().clone())
        self.loss_weights = {"squared": 1.0, "absolute": 0.5}
        self.uneven, self.bad = uneven, bad

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def loss(self, batch: Batch) -> dict[str, Term]:
        keys = batch.keys
        clips = batch.clips["student"].flatten(1).float() / 255 - 0.5
        clips = clips.to(self.encoder.weight.dtype)
        noisy = clips + 0.1 * normal(keys, Purpose.NOISE, PIXELS, dtype=clips.dtype)
        error = self.decoder(torch.tanh(self.encoder(noisy))) - clips
        share = (
            1 - uniform(keys, Purpose.MASK, 1) * 0.9 if self.uneven else torch.ones(len(keys), 1)
        )
        kept = torch.arange(PIXELS) < share * PIXELS
        absolute = Term((error.abs() * kept).sum(), kept.sum())
        spoilt = torch.isin(
            keys[:, 2] + CLIPS * keys[:, 1], torch.tensor(self.bad, dtype=torch.int64)
        )
        squared = error.square() * torch.where(spoilt, torch.nan, 1.0)[:, None]
        return {"squared": Term(squared.sum(), torch.tensor(squared.numel())), "absolute": absolute}

    def features(self, batch: Batch) -> Tensor:
        clips = batch.clips["student"].flatten(1).float() / 255 - 0.5
        return torch.tanh(self.encoder(clips.to(self.encoder.weight.dtype)))[:, None]

    def cosines(self, means: Mapping[str, float]) -> dict[str, float]:
        return {"squared": 1 - means["squared"]}

    def counts(self, batch: Batch) -> dict[str, int]:
        return {}

    def parameter_groups(self) -> list[Group]:
        return [
            Group(name, {f"{name}.{k}": p for k, p in part.named_parameters()}, True)
            for name, part in self.parts.items()
        ]

    def after_step(self, stepped: Tensor) -> None:
        with torch.no_grad():
            self.slow.lerp_(self.encoder.weight, 0.1 * stepped)


class ToyLoader:
    """Random clips by key; the steps in ``broken`` report a replaced file."""

    def __init__(self, *, broken: tuple[int, ...] = ()) -> None:
        self.step, self.steps_per_epoch = 0, CLIPS // BATCH
        self.broken = broken
        self.closed, self.prefetch = False, 2

    def __next__(self) -> Batch:
        epoch, index = divmod(self.step, self.steps_per_epoch)
        keys = make_keys(7, epoch, range(index * BATCH, (index + 1) * BATCH))
        pixels = (random_words(keys, Purpose.CROP, PIXELS) & 255).to(torch.uint8)
        name = f"broken-{self.step}.mp4"
        replaced = [Replacement(name, f"{name}: no video stream", "good.mp4")]
        self.step += 1
        found = replaced if self.step - 1 in self.broken else []
        return Batch({"student": pixels.view(BATCH, 2, 4, 4, 3)}, keys, found)

    def close(self) -> None:
        self.closed = True


def train(
    run_dir: Path,
    *,
    stage: ToyStage | None = None,
    loader: ToyLoader | None = None,
    optim: OptimConfig = OPTIM,
    run: RunConfig | None = None,
    efficiency: EfficiencyConfig | None = None,
) -> int:
    """One call of the loop on the toy, in ``run_dir``."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with folder.locked(run_dir):
        return pretrain(
            stage or ToyStage(),
            loader or ToyLoader(),
            run_dir,
            config={"name": "toy"},
            optim=optim,
            run=run or RunConfig(log_every=1, save_every=4),
            efficiency=efficiency or EfficiencyConfig(device="cpu"),
        )
