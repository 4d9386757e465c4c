"""Stage two: predict the frozen stage-one encoder's features of the masked tokens.

Legend: B batch, V visible and P masked tokens, C encoder's width, W predictor's width.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ivn.data.clip import Batch, ClipSpec
from ivn.model.decoder import LatentHead
from ivn.model.encoder import CLS_TOKENS
from ivn.model.model import Model
from ivn.model.packed import Index, size, take
from ivn.model.patch import patch_grid
from ivn.model.positions import Grid
from ivn.ops.masking import other_tokens
from ivn.ops.random import Purpose

from .blocks import Blocks, batch_keys, multi_block, multi_block_packed
from .parts import Stage, Term, check_clip, mean_term


@dataclass(frozen=True, kw_only=True)
class Stage2Config:
    """Latent prediction against a frozen encoder.

    Attributes:
        frames: of the clips.
        size: side of the clips' frames, in pixels.
        views: the masks under which each clip is seen, one student pass each.
        teacher_drop_path: leave stochastic depth on in the frozen teacher.
        decay_predictor_tokens: weight decay on the predictor's positions and mask token.
    """

    kind: Literal["stage2"] = "stage2"
    frames: int = 32
    size: int = 224
    views: tuple[Blocks, ...] = (Blocks(8, 0.15), Blocks(2, 0.7))
    teacher_drop_path: bool = False
    decay_predictor_tokens: bool = False

    def __post_init__(self) -> None:
        check_clip(self.frames, self.size)
        if not self.views:
            raise ValueError("views is empty, expected at least one mask")


class Stage2(Stage):
    """The student of stage two beside a frozen copy of the encoder it starts from."""

    decoder: LatentHead

    def __init__(self, config: Stage2Config, model: Model, *, global_batch: int) -> None:
        tokens = ("predictor.pos_embed", "predictor.mask_token")
        super().__init__(model, decayed_tokens=tokens if config.decay_predictor_tokens else ())
        if not isinstance(model.decoder, LatentHead):
            raise ValueError('stage two predicts latents: model.decoder.kind must be "latent"')
        self.config = config
        self.global_batch = global_batch
        # Nothing of this stage reaches the pooling head.
        self.encoder.clip_projector.requires_grad_(False)
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)
        self.clip_specs = {"student": ClipSpec(config.frames, config.size)}
        self.loss_weights = {f"view{i}": 1.0 for i in range(1, len(config.views) + 1)}
        self.train(self.training)

    def train(self, mode: bool = True) -> "Stage2":
        super().train(mode)
        self.teacher.train(mode and self.config.teacher_drop_path)
        return self

    def freeze_teacher(self) -> None:
        """Make the teacher what the encoder now is."""
        self.teacher.load_state_dict(self.encoder.state_dict())

    def loss(self, batch: Batch) -> dict[str, Term]:
        video, keys = batch.clips["student"], batch.keys
        grid = patch_grid(video, self.encoder.config.patch_size)
        features = self.look(video, keys)
        terms = {}
        for view in range(len(self.config.views)):
            visible, masked = self.mask(batch, grid, view)
            predicted = self.predict(video, visible, masked, keys=keys, view=view)
            terms[f"view{view + 1}"] = self.latent_term(predicted, take(features, masked))
        return terms

    def counts(self, batch: Batch) -> dict[str, int]:
        if all(blocks.truncate != "none" for blocks in self.config.views):
            return {}
        grid = patch_grid(batch.clips["student"], self.encoder.config.patch_size)
        masked = [self.mask(batch, grid, view)[1] for view in range(len(self.config.views))]
        return {f"view{i}": size(index) for i, index in enumerate(masked, 1)}

    def mask(self, batch: Batch, grid: Grid, view: int) -> tuple[Index, Index]:
        """The visible tokens of a view, ``[B, V]``, and the masked; both packed where none go."""
        blocks, device = self.config.views[view], batch.keys.device
        keys = batch.host_keys
        whole = batch_keys(keys, self.global_batch)
        if blocks.truncate == "none":
            seen, hidden = multi_block_packed(keys, whole, grid, blocks, view=view)
            return seen.to(device, non_blocking=True), hidden.to(device, non_blocking=True)
        visible = multi_block(keys, whole, grid, blocks, view=view).to(device, non_blocking=True)
        return visible, other_tokens(visible, grid[0] * grid[1] * grid[2])

    @torch.no_grad()
    def look(self, video: Tensor, keys: Tensor | None = None) -> Tensor:
        """The teacher's features of the whole clip, ``[B, N, C]``."""
        hidden, _ = self.teacher.hidden(video, keys=keys, purpose=Purpose.TEACHER_DROP_PATH)
        return hidden[:, CLS_TOKENS:]

    def predict(
        self,
        video: Tensor,
        visible: Index,
        masked: Index,
        *,
        keys: Tensor | None = None,
        view: int = 0,
    ) -> Tensor:
        """The predictor's tokens in the ``masked`` places: ``[B, P, W]``, or packed."""
        grid = patch_grid(video, self.encoder.config.patch_size)
        hidden, _ = self.encoder.hidden(video, visible, keys=keys, view=view)
        predicted = self.predictor(hidden.to(self.encoder.dtype), visible, grid)
        return take(predicted, masked)

    def latent_term(self, predicted: Tensor, target: Tensor) -> Term:
        """``2 - 2 cos`` of each masked token: the decoder's of ``[B, P, W]``, and ``[B, P, C]``."""
        return mean_term(2 * self.decoder.distance(predicted, target))

    def cosines(self, means: Mapping[str, float]) -> dict[str, float]:
        return {name: 1 - mean / 2 for name, mean in means.items()}
