"""A preset's training step, with a teacher of random weights, on a batch of random videos."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor

from ivn.benchmarks.harness.part_times import Parts
from ivn.config.run import Config, override
from ivn.data.batch import Batch
from ivn.keys import make_keys
from ivn.model import patch as model_patch
from ivn.model.encoder import Encoder
from ivn.model.layers import ProjectionHead
from ivn.stages.build import build_stage
from ivn.stages.stage import Stage
from ivn.train.optimizer import clip_gradients, make_optimizer

from .reference_ops import reference_ops


class PresetStep:
    """A stage, a batch and the optimizer of a preset."""

    def __init__(self, config: Config, batch: int, device: torch.device) -> None:
        self.config, self.device = config, device
        # All rows of one count, as where a process's clips are of one group: plain steps need that.
        random = [f"stage.{name}.weights=random" for name in config.stage.teachers]
        config = override(config, "stage.mask_group=0", *random)
        stage = build_stage(config.model, config.stage, seed=0, batch_size=batch, pretrained=False)
        leave_no_zeros(stage)
        self.stage = stage.to(device).train()
        self.batch = random_batch(self.stage, batch, device)
        self.optimizer = make_optimizer(stage.parameter_groups(), stage, config.optim)
        self.trained = [x for group in self.optimizer.param_groups for x in group["params"]]

    def parts(self) -> Parts:
        stage = self.stage
        behind = [
            part for name, part in stage.parts.items() if name not in ("encoder", "predictor")
        ]
        # The heads' norms belong to the distances.
        heads = [
            one for part in behind for one in part.modules() if isinstance(one, ProjectionHead)
        ]
        networks = [head.head for head in heads]
        if stage.decoder_of_pixels is not None:
            networks.append(stage.decoder_of_pixels.net)
        return {
            "teacher": [(stage, "look")],
            "mask": [(stage, "mask")],
            "patches": [(model_patch, "gather_patches"), (model_patch, "gather_target_patches")],
            "encoder": [(stage.encoder, "hidden")],
            "predictor": [(stage.predictor, "forward")],
            "decoder": [(network, "forward") for network in networks],
        }

    def loss(self) -> Tensor:
        return weighted(self.stage, self.terms(self.batch))

    def reference_loss(self) -> Tensor:
        with reference_ops():
            return self.loss()

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        return {name: term.total / term.count for name, term in self.stage.loss(batch).items()}

    def update(self) -> None:
        clip_gradients(self.trained, self.config.optim.clip_norm)
        self.optimizer.step()
        self.stage.after_step(torch.ones((), dtype=torch.bool, device=self.device))
        self.optimizer.zero_grad()

    @contextmanager
    def stored_teacher(self) -> Iterator[None]:
        """Computes the teacher's answer once and reuses it while this lasts."""
        look, answers = self.stage.look, []

        def known(*arguments: object) -> object:
            if not answers:
                answers.append(look(*arguments))
            return answers[0]

        with patch.object(self.stage, "look", known):
            self.loss()
            yield


def weighted(stage: Stage, terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([stage.loss_weights[name] * mean for name, mean in terms.items()]).sum()


def random_batch(stage: Stage, B: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    clips = {
        name: torch.randint(
            256, (B, spec.frames, spec.size, spec.size, 3), generator=generator, dtype=torch.uint8
        )
        for name, spec in stage.clip_specs.items()
    }
    return Batch(clips, make_keys(0, 0, range(B))).to(device)


def leave_no_zeros(stage: Stage) -> None:
    """Changes LayerScale and layers that start at zero, so that all parts affect the losses."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in stage.named_parameters():
            if name.endswith("gamma") or not parameter.any():
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


@contextmanager
def computing_in(stage: Stage, dtype: torch.dtype) -> Iterator[None]:
    """Sets the dtype of the student and of stage two's teacher."""
    encoders = [module for module in stage.modules() if isinstance(module, Encoder)]
    kept = [encoder.compute_dtype for encoder in encoders]
    for encoder in encoders:
        encoder.compute_dtype = dtype
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    for encoder, own in zip(encoders, kept, strict=True):
        encoder.compute_dtype = own
