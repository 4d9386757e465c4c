"""Both stages give every parameter the gradient that a plain model gives it, in fp64.

The plain model (``benchmarks/steps/plain_model.py``) embeds every token, indexes with booleans and
writes attention and diffusion out; it shares no code with the stages. It is given what is not the
objective's: the mask, the teacher's features, and the random numbers.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ivn.benchmarks.steps.plain_model import (
    PlainModel,
    drop_factors,
    normalise,
    stage1_losses,
    stage2_losses,
    to_mask,
)
from ivn.data.batch import Batch
from ivn.frozen import ImageNetwork, Teacher, TeacherConfig
from ivn.keys import Purpose, make_keys
from ivn.model.decoder import DiffusionConfig, LatentHeadConfig, PixelHeadConfig
from ivn.model.encoder import EncoderConfig
from ivn.model.model import AlignmentSizes, ModelConfig, build_model
from ivn.model.predictor import PredictorConfig
from ivn.ops.random import integers, normal, uniform
from ivn.stages.blocks import Blocks, batch_keys, multi_block
from ivn.stages.stage1 import Stage1, Stage1Config
from ivn.stages.stage2 import Stage2, Stage2Config

TOLERANCE = 1e-8  # of the plain gradient's largest magnitude
B, PATCH, TEACHER_WIDTH, PATCH_PIXELS = 3, 14, 24, 3 * 14**2
# Added to the scores of all keys alike, which a softmax does not see.
WITHOUT_EFFECT = {"encoder.clip_projector." + x for x in ("norm1_k.bias", "cross_attn.k_bias")}

ENCODER = EncoderConfig(
    48, 3, 2, 96, image_height=56, image_width=56, num_frames=4, pool_heads=3, pool_width=20,
    drop_path=0.5,
)  # fmt: skip
# Layers 25 and 26 of 28 see 8 tokens to either side, 27 all: of 68 or more.
PREDICTOR = PredictorConfig(32, 2, 40, layers=3, local_window=8, init="scratch")
DIFFUSION = DiffusionConfig(depth=2, width=32)
# The table's grid is 4 x 4 x 4: (frames, side) of clips that it serves as it is, and enlarged,
# shortened and stretched.
OWN, LARGER, SHORTER = (4, 56), (7, 70), (2, 56)

TEACHER = TeacherConfig("siglip", "none", 56, taps=(1,))  # stands for the network below
PAPER = Stage1Config(teacher=TEACHER, frames=4, size=56)
OFFICIAL = replace(
    PAPER,
    mask="semantic_sampled",
    mask_ratio=0.75,
    align_pooled=True,
    alignment_loss="two_minus_two_cosine",
    renormalise_pooled=False,
    teacher_input="student",
)
PREFIX = (Blocks(3, 0.15, truncate="prefix", restart=True), Blocks(2, 0.4, truncate="prefix"))
PAPER2 = Stage2Config(frames=4, size=56, views=(Blocks(3, 0.15), Blocks(2, 0.4)))
OFFICIAL2 = replace(PAPER2, views=PREFIX, teacher_drop_path=True)


class TwoLayers(ImageNetwork):
    """An image network small enough for this file, tapped once for each of ``taps``."""

    width = TEACHER_WIDTH
    read = None

    def __init__(self, grid: int, taps: int) -> None:
        super().__init__()
        self.grid, self.taps, self.image_size = grid, tuple(range(taps)), 16 * grid
        self.first = nn.Conv2d(3, TEACHER_WIDTH, 16, 16)
        self.then = nn.Linear(TEACHER_WIDTH, TEACHER_WIDTH)

    def features(self, images, tap, *, pooled, attention):
        tokens = self.first(images).flatten(2).mT
        for k in self.taps:
            tap(k, tokens)
            tokens = self.then(tokens).sin()
        empty = tokens.new_empty(len(tokens), 0)
        return tokens.mean(1) if pooled else empty, tokens.norm(dim=2) if attention else empty


def randomised(stage: nn.Module, seed: int) -> None:
    """fp64, and no parameter left at a zero, a one or LayerScale's 1e-5."""
    generator = torch.Generator().manual_seed(seed)
    stage.double()
    with torch.no_grad():
        for name, parameter in stage.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if name.endswith("gamma"):
                parameter.copy_(0.6 + 0.2 * noise)
            else:
                parameter += 0.1 * noise


def student(decoder, alignment, encoder=ENCODER, predictor=PREDICTOR):
    config = ModelConfig(encoder, predictor, decoder)
    return build_model(config, alignment, seed=1).compute_in(torch.float64)


def stage1(config: Stage1Config, layers: int, clip, decoder=DIFFUSION, **sizes) -> Stage1:
    network = TwoLayers(clip[1] // PATCH, layers)
    alignment = AlignmentSizes(layers, TEACHER_WIDTH, config.align_pooled)
    stage = Stage1(config, student(decoder, alignment, **sizes), {"teacher": Teacher(network)})
    randomised(stage, 2)
    return stage.train()


def stage2(config: Stage2Config, **sizes) -> Stage2:
    stage = Stage2(config, student(LatentHeadConfig(), None, **sizes), {}, global_batch=B)
    randomised(stage, 3)  # the teacher too: one that equals its student could stand in for it
    return stage.train()


def batch_of(clip: tuple[int, ...]) -> Batch:
    """A batch of clips of some frames and side, or of frames, height and width."""
    T, side, width = (*clip, clip[1])[:3]
    teacher = 16 * (side // PATCH)
    generator = torch.Generator().manual_seed(4)
    clips = {
        name: torch.randint(256, (B, T, *size, 3), generator=generator, dtype=torch.uint8)
        for name, size in {
            "student": (side, width),
            "teacher": (teacher, teacher),
        }.items()
    }
    return Batch(clips, make_keys(17, 1, range(3, 3 + B)))


def stochastic_depth(keys: Tensor, purpose: Purpose = Purpose.DROP_PATH, view: int = 0) -> Tensor:
    u = uniform(keys, purpose, 2 * ENCODER.depth, layer=view).double()
    factors = drop_factors(u, ENCODER.drop_path)
    assert (factors == 0).any(), "nothing is dropped: choose other keys"
    assert (factors > 0).any(0).all(), "a branch is dropped everywhere: choose other keys"
    return factors


def leaves(stage: nn.Module) -> dict[str, Tensor]:
    """Copies of a stage's parameters that gather gradients of their own, frozen ones too."""
    return {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in stage.named_parameters()
    }


def plain_stage1(stage: Stage1, batch: Batch, video: Tensor):
    """Losses of the plain model and its leaves."""
    p = leaves(stage)
    model = PlainModel(p, stage.encoder.config, stage.predictor.config)
    seen, grid = stage.look(batch), model.grid(video)
    N = grid[0] * grid[1] * grid[2]
    visible = to_mask(stage.mask(batch, seen.attention)[0], N)
    M = N - int(visible[0].sum())
    losses = stage1_losses(
        model,
        stage.config,
        video,
        visible,
        layers=seen.layers,
        pooled=seen.pooled,
        timestep=integers(batch.keys, Purpose.TIMESTEP, M, 1000).flatten(),
        noise=normal(batch.keys, Purpose.NOISE, M * PATCH_PIXELS, dtype=torch.float64).view(
            -1, PATCH_PIXELS
        ),
        drop=stochastic_depth(batch.keys),
    )
    return losses, p


def plain_stage2(stage: Stage2, batch: Batch, video: Tensor):
    p = leaves(stage)
    model = PlainModel(p, stage.encoder.config, stage.predictor.config)
    grid = model.grid(video)
    keys, visible, drop = batch.keys, [], []
    for view, blocks in enumerate(stage.config.views):
        index = multi_block(keys, batch_keys(keys, B), grid, blocks, view=view)
        visible.append(to_mask(index, grid[0] * grid[1] * grid[2]))
        drop.append(stochastic_depth(keys, view=view))
    teacher_drop = None
    if stage.config.teacher_drop_path:
        teacher_drop = stochastic_depth(keys, Purpose.TEACHER_DROP_PATH)
    return stage2_losses(model, video, visible, drop=drop, teacher_drop=teacher_drop), p


def assert_near(actual: Tensor, expected: Tensor, what: str) -> None:
    error, largest = (actual - expected).abs().max(), expected.abs().max()
    assert error <= TOLERANCE * largest, f"{what}: off by {error:.1e} of {largest:.1e}"


def assert_same_losses_and_gradients(stage, batch: Batch, plain, p, frozen: set[str]) -> None:
    """Compare term by term and parameter by parameter; ``frozen`` are prefixes of names."""
    terms = stage.loss(batch)
    assert terms.keys() == plain.keys() == stage.loss_weights.keys()
    # Unequal weights, so that no term can stand in for another.
    weights = {name: 1.0 + i for i, name in enumerate(sorted(terms))}
    for name, term in terms.items():
        assert_near(term.total / term.count, plain[name], name)
    sum(weights[name] * term.total / term.count for name, term in terms.items()).backward()
    sum(weights[name] * loss for name, loss in plain.items()).backward()

    largest = max(leaf.grad.abs().max() for leaf in p.values() if leaf.grad is not None)
    trained = set()
    for name, parameter in stage.named_parameters():
        if any(name.startswith(prefix) for prefix in frozen):
            assert not parameter.requires_grad and parameter.grad is None, name
            assert p[name].grad is None, f"the plain model trains the frozen {name}"
            continue
        trained.add(name)
        if name in WITHOUT_EFFECT:
            assert parameter.grad.abs().max() < 1e-14 * largest, name
            continue
        assert parameter.grad is not None and p[name].grad is not None, f"no gradient: {name}"
        assert p[name].grad.abs().max() > 1e-6 * largest, f"gradient vanishes: {name}"
        assert_near(parameter.grad, p[name].grad, name)
    grouped = [name for group in stage.parameter_groups() for name in group.params]
    assert sorted(grouped) == sorted(trained), "the optimiser's groups are other parameters"


POOL, IMAGE = "encoder.clip_projector.", "teacher."
NO_FIRST_NORM = replace(PREDICTOR, total_layers=3)  # its first layer is ModernBERT's first
STAGE1 = {
    "paper": (PAPER, 1, OWN, {}),
    "paper, enlarged positions": (PAPER, 1, LARGER, {}),
    "official": (OFFICIAL, 2, OWN, {}),
    "official, enlarged positions": (OFFICIAL, 2, LARGER, {}),
    "every block aligned, fewer frames": (OFFICIAL, 3, SHORTER, {}),
    "random mask": (replace(PAPER, mask="random", mask_ratio=0.6), 1, OWN, {}),
    "tube mask": (replace(PAPER, mask="tube"), 1, OWN, {}),
    "frame difference mask": (replace(OFFICIAL, mask="frame_difference"), 1, OWN, {}),
    "pooled target renormalised": (replace(OFFICIAL, renormalise_pooled=True), 1, OWN, {}),
    "pooled with negative cosine": (replace(PAPER, align_pooled=True), 1, OWN, {}),
    "linear pixel head": (PAPER, 1, OWN, {"decoder": PixelHeadConfig(depth=1)}),
    "deep pixel head": (PAPER, 1, OWN, {"decoder": PixelHeadConfig(depth=3, width=32)}),
    "whole text encoder": (PAPER, 1, OWN, {"predictor": NO_FIRST_NORM}),
    "wide residual stream": (
        PAPER, 1, OWN, {"encoder": replace(ENCODER, residual_dtype="float32")},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("config", "layers", "clip", "sizes"), STAGE1.values(), ids=STAGE1)
def test_stage1_gradients(config, layers, clip, sizes):
    stage, batch = stage1(config, layers, clip, **sizes), batch_of(clip)
    video = normalise(batch.clips["student"], torch.float64)
    plain, p = plain_stage1(stage, batch, video)
    frozen = set() if config.align_pooled else {POOL}
    assert_same_losses_and_gradients(stage, batch, plain, p, frozen)
    network = stage.teachers["teacher"].network.network
    assert not any(x.requires_grad or x.grad is not None for x in network.parameters())
    assert not any(name.startswith(IMAGE) for name, _ in stage.named_parameters())


STAGE2 = {
    "paper": (PAPER2, OWN, {}),
    "paper, enlarged positions": (PAPER2, LARGER, {}),
    "official": (OFFICIAL2, OWN, {}),
    "official, fewer frames": (OFFICIAL2, SHORTER, {}),
    "whole text encoder": (PAPER2, OWN, {"predictor": NO_FIRST_NORM}),
    "wide frames": (PAPER2, (3, 56, 98), {}),
}


@pytest.mark.parametrize(("config", "clip", "sizes"), STAGE2.values(), ids=STAGE2)
def test_stage2_gradients(config, clip, sizes):
    stage, batch = stage2(config, **sizes), batch_of(clip)
    video = normalise(batch.clips["student"], torch.float64)
    plain, p = plain_stage2(stage, batch, video)
    assert_same_losses_and_gradients(stage, batch, plain, p, {POOL, IMAGE})


def gradients(stage: nn.Module, batch: Batch) -> dict[str, Tensor]:
    stage.zero_grad()
    terms = stage.loss(batch)
    sum(term.total / term.count for term in terms.values()).backward()
    found = {name: x.grad.clone() for name, x in stage.named_parameters() if x.grad is not None}
    return found | {name: term.total.detach() for name, term in terms.items()}


@pytest.mark.parametrize("which", ["stage1", "stage2"])
def test_uint8_and_float_clips_train_alike(which):
    stage = stage1(PAPER, 1, LARGER) if which == "stage1" else stage2(PAPER2)
    batch = batch_of(LARGER)
    video = normalise(batch.clips["student"], torch.float64)
    of_bytes = gradients(stage, batch)
    of_floats = gradients(stage, Batch(batch.clips | {"student": video}, batch.keys))
    assert of_bytes.keys() == of_floats.keys()
    for name, value in of_bytes.items():
        assert_near(value, of_floats[name], name)


def test_diffusion_gradients_at_every_kind_of_step():
    """Step 0 has a likelihood in place of a divergence, with open bins below -1 and above 1."""
    stage = stage1(PAPER, 1, OWN)
    timestep = torch.tensor([0, 0, 0, 1, 2, 500, 998, 999])
    noise, target = torch.randn(2, len(timestep), PATCH_PIXELS, dtype=torch.float64)
    noise[0] *= 8  # beyond the reach of the likelihood, which is then clamped
    p = leaves(stage)
    z = torch.randn(len(timestep), PREDICTOR.width, dtype=torch.float64)
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    terms = stage.decoder.loss_terms(target, ours, timestep, noise)
    plain = PlainModel(p, ENCODER, PREDICTOR).diffusion_loss(target, theirs, timestep, noise)
    assert_near(terms.mse + terms.variational, plain, "loss")
    (terms.mse + terms.variational).sum().backward()
    plain.sum().backward()
    assert_near(ours.grad, theirs.grad, "z")
    for name, parameter in stage.named_parameters():
        if name.startswith("decoder."):
            assert_near(parameter.grad, p[name].grad, name)
