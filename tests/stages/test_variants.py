"""Each row of the paper's ablations changes what it says, and nothing else.

A row is a few fields. Compared with the row that it departs from are the terms of the loss, the
parameters that train, and where weights come from. Teachers have the real class, random weights.
"""

import zlib
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import nn

from ivn.model.alignment import Alignment
from ivn.model.decoder import DiffusionDecoder, PixelHead
from ivn.model.encoder import CLS_TOKENS
from ivn.model.model import Model
from ivn.model.packed import Packed
from ivn.model.positions import resize_table
from ivn.model.predictor import Predictor
from ivn.model.vit import ViTLayer, ViTPredictorConfig
from ivn.ops.random import Purpose, integers, normal
from ivn.stages import Stage1, Term, initialise
from ivn.toml import ConfigError
from ivn.train import checkpoint, folder
from ivn.train.gradients import compute_gradients
from ivn.train.health import HealthCheck
from ivn.train.loop import pretrain
from ivn.train.optimizer import OptimConfig, make_optimizer
from ivn.train.settings import EfficiencyConfig, RunConfig
from tests.small import random_batch, small_config, small_stage

pytest.importorskip("transformers")

# Added to the scores of all keys alike, which a softmax does not see.
WITHOUT_EFFECT = ("clip_projector.norm1_k.bias", "clip_projector.cross_attn.k_bias")
TINY_TEACHER = ("source=tiny", "image_size=64", "taps=[4]", "weights=random")


def teacher(key: str) -> list[str]:
    """Another teacher of random weights for the field ``key``."""
    return [f"{key}.kind=siglip", *(f"{key}.{setting}" for setting in TINY_TEACHER)]


def build(preset: str, *changes: str):
    """A small stage with no parameter at zero, where it would hide others' gradients."""
    stage = small_stage(small_config(preset, *changes))
    with torch.no_grad():
        for part, module in stage.parts.items():
            for name, parameter in module.named_parameters():
                # By its name: what two rows share moves alike.
                generator = torch.Generator().manual_seed(zlib.crc32(f"{part}.{name}".encode()))
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    stage.after_start()
    return stage


def assert_same(one: nn.Module, other: nn.Module) -> None:
    """Bit-equal parameters under the same names."""
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


class Row:
    """What a row's objective is made of: its terms, and the parameters that they reach."""

    def __init__(self, preset: str, *changes: str) -> None:
        self.stage = build(preset, *changes)
        self.batch = random_batch(self.stage)
        self.loss = compute_gradients(self.stage, self.batch, 1)
        self.terms = set(self.loss.means)
        named = dict(self.stage.named_parameters())
        self.gradients = {k: p.grad.clone() for k, p in named.items() if p.grad is not None}
        self.trained = {
            k for k, g in self.gradients.items() if g.any() or k.endswith(WITHOUT_EFFECT)
        }
        groups = self.stage.parameter_groups()
        self.handed = {key for group in groups for key in group.params}
        self.parts = set(self.stage.parts)


@pytest.fixture(scope="module")
def rows():
    """Rows by their settings, each made once."""
    made: dict[tuple[str, ...], Row] = {}

    def row(*settings: str) -> Row:
        if settings not in made:
            made[settings] = Row(*settings)
            assert made[settings].trained == made[settings].handed, "not what is optimised"
        return made[settings]

    return row


def assert_changes(row: Row, baseline: Row, *parts: str) -> None:
    """All parts but ``parts`` are there in both rows, and begin with the same weights."""
    ours, theirs = row.stage.parts, baseline.stage.parts
    assert ours.keys() - set(parts) == theirs.keys() - set(parts)
    for part in ours.keys() - set(parts):
        assert_same(ours[part], theirs[part])


def of(names: set[str], *parts: str) -> set[str]:
    """Those of ``names`` that lie in ``parts``."""
    return {name for name in names if name.partition(".")[0] in parts}


PIXEL_ONLY, ALIGN_ONLY = "stage.layers_weight=0", "stage.pixels_weight=0"
S1, S2 = "stage1-tiny", "stage2-tiny"

# Table 1a.


def test_pixel_only_has_no_alignment_and_asks_the_teacher_for_its_attention_alone(rows):
    both, row = rows(S1), rows(S1, PIXEL_ONLY)
    assert (both.terms, row.terms) == ({"layers", "pixels"}, {"pixels"})
    assert row.trained == of(both.trained, "encoder", "predictor", "decoder")
    assert row.stage.alignment is None
    assert_changes(row, both, "alignment")
    seen = row.stage.look(row.batch)
    assert seen.attention.numel() and not seen.layers.numel() and not seen.pooled.numel()


def test_pixel_only_with_a_mask_that_needs_no_teacher_runs_without_one():
    nowhere = ["stage.teacher.weights=pretrained", "stage.teacher.source=/nowhere"]
    row = Row(S1, PIXEL_ONLY, "stage.mask=tube", *nowhere)
    assert row.terms == {"pixels"}
    assert row.stage.teacher is None
    assert set(row.batch.clips) == {"student"}


def test_align_only_has_neither_predictor_nor_decoder(rows):
    both, row = rows(S1), rows(S1, ALIGN_ONLY)
    assert row.terms == {"layers"}
    assert row.trained == of(both.trained, "encoder", "alignment")
    assert row.parts == {"encoder", "alignment"}
    assert not any(isinstance(m, Predictor | DiffusionDecoder) for m in row.stage.modules())
    assert_changes(row, both, "predictor", "decoder")


def test_a_stage_leaves_out_what_its_model_has_too_much_of(rows):
    """As where another run's whole model is given to it."""
    full = rows(S1).stage
    model = Model(full.encoder, full.predictor, full.decoder, full.alignment)
    for change, parts in ((ALIGN_ONLY, {"alignment"}), (PIXEL_ONLY, {"predictor", "decoder"})):
        stage = Stage1(small_config(S1, change).stage, model, full.teacher)
        assert set(stage.parts) == {"encoder", *parts}


def test_align_only_loads_no_text_encoder():
    row = Row(S1, ALIGN_ONLY, "model.predictor.init=modernbert", "model.predictor.source=/nowhere")
    assert row.terms == {"layers"}


def test_the_encoders_gradient_is_the_sum_of_both_terms_alone(rows):
    both, pixels, align = rows(S1), rows(S1, PIXEL_ONLY), rows(S1, ALIGN_ONLY)
    for name in of(both.trained, "encoder"):
        expected = pixels.gradients[name] + align.gradients[name]
        torch.testing.assert_close(both.gradients[name], expected, rtol=1e-4, atol=1e-6)
    for name in of(both.trained, "predictor", "decoder"):
        torch.testing.assert_close(both.gradients[name], pixels.gradients[name])


def test_the_pooled_term_alone_trains_the_pooling_head_and_one_head():
    row = Row(S1, "stage.align_pooled=true", PIXEL_ONLY, ALIGN_ONLY)
    assert row.terms == {"pooled"}
    assert row.trained == row.handed
    assert "encoder.clip_projector.cross_attn.q.weight" in row.trained
    heads = {name for name in row.trained if name.startswith("alignment.")}
    assert heads and all(name.startswith("alignment.pooled.") for name in heads)


def test_a_pooled_term_of_weight_zero_is_no_term(rows):
    row = Row(S1, "stage.align_pooled=true", "stage.pooled_weight=0")
    assert (row.terms, row.trained) == (rows(S1).terms, rows(S1).trained)


# Tables 1a and 1b.


@pytest.mark.parametrize("layers", [2, 5, 8])
def test_text_initialisation_takes_the_text_encoders_last_layers(text_encoder, layers):
    text, folder = text_encoder
    depth = f"model.predictor.layers={layers}"
    scratch = small_stage(small_config(S1, depth))
    taken = small_stage(
        small_config(
            S1, depth, "model.predictor.init=modernbert", f"model.predictor.source={folder}"
        )
    )
    assert len(taken.predictor.layers) == layers
    for ours, theirs in zip(taken.predictor.layers, text.layers[-layers:], strict=True):
        assert_same(ours, theirs)
    assert scratch.state_dict().keys() == taken.state_dict().keys()
    changed = {
        name
        for name, value in scratch.state_dict().items()
        if not torch.equal(value, taken.state_dict()[name])
    }
    assert {name for name in changed if not name.startswith("predictor.layers.")} == set()
    matrices = {n for n, p in taken.named_parameters() if "predictor.layers" in n and p.ndim == 2}
    assert matrices <= changed


VIT = ["model.predictor.kind=vit", "model.predictor.width=48", "model.predictor.heads=3"]


@pytest.mark.parametrize("depth", [5, 12])
def test_a_vit_predictor_takes_the_text_layers_place_and_no_others(rows, depth):
    baseline, row = rows(S1), rows(S1, *VIT, f"model.predictor.depth={depth}")
    assert row.terms == baseline.terms
    assert_changes(row, baseline, "predictor")
    inside = ("predictor.layers.", "predictor.norm.")
    for one in (row, baseline):
        one.outside = {name for name in one.trained if not name.startswith(inside)}
    assert row.outside == baseline.outside
    blocks = {name.split(".")[2] for name in row.trained if name.startswith("predictor.layers.")}
    assert blocks == {str(i) for i in range(depth)}


@pytest.mark.parametrize("layers", [5, 8])
def test_more_of_the_text_encoders_layers_change_the_predictor_alone(rows, layers):
    baseline, row = rows(S1), rows(S1, f"model.predictor.layers={layers}")
    assert row.terms == baseline.terms
    assert_changes(row, baseline, "predictor")


def test_a_vit_layer_is_pytorchs_pre_norm_encoder_layer():
    config = ViTPredictorConfig(width=24, heads=3, depth=1, mlp_ratio=2.0)
    layer = ViTLayer(config, 0).double()
    theirs = nn.TransformerEncoderLayer(
        24, 3, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True,
        layer_norm_eps=1e-6,
    ).double()  # fmt: skip
    names = {
        "norm1": "norm1",
        "attn.qkv": "self_attn.in_proj_",
        "attn.proj": "self_attn.out_proj",
        "norm2": "norm2",
        "mlp.fc1": "linear1",
        "mlp.fc2": "linear2",
    }
    state = theirs.state_dict()
    layer.load_state_dict(
        {
            f"{ours}.{kind}": state[f"{other}{kind}" if other[-1] == "_" else f"{other}.{kind}"]
            for ours, other in names.items()
            for kind in ("weight", "bias")
        }
    )
    x = torch.randn(2, 7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_a_vit_predictor_serves_clips_of_different_lengths():
    stage = build(S2, *VIT, "stage.views.0.truncate=none", "model.encoder.drop_path=0")
    batch = random_batch(stage)
    visible, masked = stage.mask(batch, view=0)
    assert isinstance(visible, Packed) and isinstance(masked, Packed)
    together = stage.predict(batch.clips["student"], visible, masked)[0].split(masked.lengths)
    for i, (seen, hidden) in enumerate(zip(parts(visible), parts(masked), strict=True)):
        alone = stage.predict(batch.clips["student"][i : i + 1], seen, hidden)[0]
        torch.testing.assert_close(together[i], alone, rtol=1e-4, atol=1e-5)


def parts(index: Packed) -> Iterator[torch.Tensor]:
    return (part[None] for part in index.index.split(index.lengths))


# Table 1c.

DECODERS = {
    "linear": (["kind=pixel", "depth=1"], PixelHead, 1),
    "MLP of 3": (["kind=pixel", "depth=3", "width=40"], PixelHead, 3),
    "diffusion D3": (["depth=3"], DiffusionDecoder, 3),
    "diffusion D6": (["depth=6", "width=40"], DiffusionDecoder, 6),
    "diffusion D9": (["depth=9", "width=48"], DiffusionDecoder, 9),
}


@pytest.mark.parametrize(("settings", "kind", "depth"), DECODERS.values(), ids=DECODERS)
def test_a_decoder_changes_the_decoder_alone(rows, settings, kind, depth):
    baseline, row = rows(S1), rows(S1, *(f"model.decoder.{setting}" for setting in settings))
    assert row.terms == baseline.terms
    assert row.trained - of(row.trained, "decoder") == baseline.trained - of(
        baseline.trained, "decoder"
    )
    decoder = row.stage.decoder
    assert isinstance(decoder, kind)
    layers = decoder.net if kind is PixelHead else decoder.net.res_blocks
    assert sum(not isinstance(layer, nn.GELU) for layer in layers) == depth
    assert_changes(row, baseline, "decoder")


# Table 2.

SECOND = teacher("stage.second_teacher")


def test_a_second_teacher_brings_its_own_heads_and_term(rows):
    one, row = rows(S1, ALIGN_ONLY), rows(S1, ALIGN_ONLY, *SECOND)
    assert row.terms == {"layers", "second"}
    own = of(row.trained, "second_alignment")
    assert row.trained - own == one.trained
    assert_changes(row, one, "second_alignment")
    heads = {name.removeprefix("second_") for name in own}
    assert heads == {name for name in of(one.trained, "alignment") if ".pooled." not in name}
    assert set(row.batch.clips) == {"student", "teacher", "second_teacher"}
    torch.testing.assert_close(row.loss.means["layers"], one.loss.means["layers"])


def test_a_second_teacher_of_weight_zero_is_none(rows):
    row = Row(S1, ALIGN_ONLY, *SECOND, "stage.second_weight=0")
    assert (row.terms, row.trained) == (rows(S1, ALIGN_ONLY).terms, rows(S1, ALIGN_ONLY).trained)
    assert row.stage.second_teacher is None


def test_the_second_term_is_the_cosine_to_the_second_teacher():
    more = [*SECOND[:-2], "stage.second_teacher.taps=[2, 3]", SECOND[-1]]
    stage = build(S1, ALIGN_ONLY, *more)
    batch = random_batch(stage)
    visible, masked = stage.mask(batch, stage.look(batch).attention)
    seen = stage.student(batch.clips["student"], visible, masked, keys=batch.keys)
    term = stage.second_term(batch, seen, visible)
    told = stage.second_teacher(batch.clips["second_teacher"]).layers
    heads: Alignment = stage.second_alignment
    cosines = []
    for k, head in enumerate(heads.layers):
        rows = visible[..., None].expand(-1, -1, 48)
        places = heads.pos_embed[0, CLS_TOKENS:].expand(len(batch), -1, -1).gather(1, rows)
        ours = head(seen.features[k][:, CLS_TOKENS:] + places)
        theirs = told[k].gather(1, visible[..., None].expand(-1, -1, told.shape[-1]))
        cosines.append(nn.functional.cosine_similarity(ours, theirs, dim=-1))
    expected = -torch.stack(cosines).mean()
    torch.testing.assert_close(term.total / term.count, expected)


@pytest.mark.parametrize(
    ("preset", "key", "clip"),
    [
        (S1, "stage.teacher", "teacher"),
        (S1, "stage.second_teacher", "second_teacher"),
        (S2, "stage.target", "target"),
    ],
)
@pytest.mark.parametrize("kind", ["videomae", "vjepa2"])
def test_a_network_of_clips_sees_two_frames_to_a_token(preset, key, clip, kind):
    changes = [f"{key}.kind={kind}", *teacher(key)[1:], "stage.mask=random"]
    row = Row(preset, *changes)
    assert row.batch.clips[clip].shape[1] == 8 and row.batch.clips["student"].shape[1] == 4
    assert row.trained == row.handed
    assert all(mean.isfinite() for mean in row.loss.means.values())


def test_a_network_of_clips_is_not_shown_the_students_frames():
    video = ["stage.teacher.kind=vjepa2", "stage.teacher_input=student", "stage.mask=random"]
    with pytest.raises(ValueError, match=r"sees 8 frames, the student 4: .*teacher_input"):
        small_stage(small_config(S1, *video))


# Table 3.


@pytest.fixture(scope="module")
def stage1_run(tmp_path_factory):
    """The parts of a stage one, saved as a run saves them."""
    config = small_config(S1)
    stage = build(S1)
    from ivn.config import to_dict

    run = tmp_path_factory.mktemp("run")
    checkpoint.save(run, 1, {}, parts=stage.parts, config=to_dict(config), keep_last=1)
    return run, stage


MOMENTUM = ["stage.target.kind=momentum", "stage.target.momentum=0.5"]
TAUGHT = teacher("stage.target")


def test_by_default_encoder_target_and_predictor_begin_as_stage_one_left_them(stage1_run):
    run, before = stage1_run
    stage = small_stage(small_config(S2))
    assert initialise(stage, run) == (["encoder", "predictor"], ["decoder"])
    for part, theirs in (
        (stage.encoder, before.encoder),
        (stage.teacher, before.encoder),
        (stage.predictor, before.predictor),
    ):
        assert_same(part, theirs)


@pytest.mark.parametrize("predictor", [[], VIT], ids=["modernbert", "vit"])
def test_start_encoder_takes_the_encoder_alone(stage1_run, predictor):
    run, before = stage1_run
    stages = [
        small_stage(small_config(S2, "stage.start=encoder", *predictor, *MOMENTUM)) for _ in "ab"
    ]
    stage, untouched = stages
    assert initialise(stage, run) == (["encoder"], ["predictor", "decoder"])
    assert_same(stage.encoder, before.encoder)
    assert_same(stage.teacher, before.encoder)
    assert_same(stage.predictor, untouched.predictor)


def test_a_predictor_of_another_kind_is_not_taken(stage1_run):
    run, _ = stage1_run
    with pytest.raises(ValueError, match=r"predictor\.kind is modernbert.*predictor\.kind is vit"):
        initialise(small_stage(small_config(S2, *VIT)), run)


def steps(stage, config, count: int, batch) -> list[dict[str, torch.Tensor]]:
    """The encoder's weights after each of some optimiser steps."""
    optimizer, found = make_optimizer(stage.parameter_groups(), stage, config.optim), []
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    for _ in range(count):
        compute_gradients(stage, batch, 1)
        optimizer.step()
        stage.after_step(torch.tensor(True))
        found.append({k: v.clone() for k, v in stage.encoder.state_dict().items()})
    return found


def test_a_momentum_target_is_the_running_mean_of_the_encoder():
    config, stage = small_config(S2, *MOMENTUM), build(S2, *MOMENTUM)
    assert_same(stage.teacher, stage.encoder)
    first = {k: v.clone() for k, v in stage.encoder.state_dict().items()}
    later = steps(stage, config, 4, random_batch(stage))
    moved = 0
    for name, value in stage.teacher.state_dict().items():
        weights = [later[i][name] * 0.5 ** (4 - i) for i in range(4)]
        torch.testing.assert_close(value, 0.5**4 * first[name] + sum(weights), rtol=0, atol=1e-6)
        moved += not torch.equal(value, first[name])
    assert moved > 20
    assert all(p.grad is None for p in stage.teacher.parameters())


def test_a_momentum_target_stays_where_a_step_was_skipped(tmp_path):
    """The loop's second step is not finite."""
    stage = build(S2, *MOMENTUM)
    seen, loss = [], stage.loss

    class Loader:
        step, steps_per_epoch, prefetch = 0, 4, 2

        def __next__(self):
            seen.append({k: v.clone() for k, v in stage.teacher.state_dict().items()})
            return random_batch(stage)

        def close(self):
            seen.append(stage.teacher.state_dict())

    def spoilt(batch):
        factor = torch.nan if len(seen) == 2 else 1.0
        return {k: Term(factor * t.total, t.count) for k, t in loss(batch).items()}

    stage.loss = spoilt
    optim = OptimConfig(4, epochs=1, steps=4, lr=1e-2, lr_scaling="none")
    run, efficiency = RunConfig(log_every=1), EfficiencyConfig(device="cpu")
    with folder.locked(tmp_path):
        pretrain(stage, Loader(), tmp_path, config={}, optim=optim, run=run, efficiency=efficiency)
    name = "blocks.0.attn.qkv.weight"
    moves = [not torch.equal(a[name], b[name]) for a, b in pairwise(seen)]
    assert moves == [True, False, True, True]
    torch.testing.assert_close(seen[1], seen[2], rtol=0, atol=0)


@pytest.mark.parametrize("target", [[], TAUGHT], ids=["start", "teacher"])
def test_a_frozen_target_stays(target):
    config, stage = small_config(S2, *target), build(S2, *target)
    batch = random_batch(stage)
    before = stage.target(batch).clone()
    first, *_, last = steps(stage, config, 2, batch)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], last["blocks.0.attn.qkv.weight"])
    with torch.no_grad():
        assert torch.equal(stage.eval().target(batch), before)


def test_another_target_changes_the_latent_heads_last_layer_alone(rows):
    baseline, row = rows(S2), rows(S2, *TAUGHT)
    assert row.terms == baseline.terms == {"view1", "view2"}
    assert row.trained == baseline.trained
    assert_changes(row, baseline, "decoder")
    other = {
        name for name in row.trained if row.gradients[name].shape != baseline.gradients[name].shape
    }
    assert other == {
        f"decoder.{x}" for x in ("head.2.weight", "head.2.bias", "norm.weight", "norm.bias")
    }
    assert set(row.batch.clips) == {"student", "target"}
    assert not any(name.startswith("teacher.") for name in row.stage.state_dict())


def test_another_target_is_the_teachers_last_tap_at_the_masked_tokens():
    changes = [*TAUGHT[:-2], "stage.target.taps=[1, 3]", TAUGHT[-1], "model.encoder.drop_path=0"]
    stage = build(S2, *changes)
    batch = random_batch(stage)
    assert stage.teacher.network.taps == (3,)
    told = stage.teacher(batch.clips["target"], attention=False).layers[-1]
    assert torch.equal(stage.target(batch), told)
    terms = stage.loss(batch)
    for view in (0, 1):
        visible, masked = stage.mask(batch, view=view)
        predicted = stage.predict(batch.clips["student"], visible, masked, view=view)
        theirs = told.gather(1, masked[..., None].expand(-1, -1, told.shape[-1]))
        cosine = nn.functional.cosine_similarity(stage.decoder(predicted), theirs, dim=-1)
        term = terms[f"view{view + 1}"]
        torch.testing.assert_close(term.total / term.count, (2 - 2 * cosine).mean())


VISIBLE = ["stage.layers_weight=1", *teacher("stage.teacher")]
PIXELS = [
    "stage.pixels_weight=1",
    "stage.pixel_decoder.depth=1",
    "stage.pixel_decoder.width=32",
]


def test_visible_alignment_adds_a_term_and_heads(rows):
    baseline, row = rows(S2), rows(S2, *VISIBLE)
    assert row.terms == baseline.terms | {"layers"}
    assert row.trained - of(row.trained, "alignment") == baseline.trained
    assert_changes(row, baseline, "alignment")
    ours = of(row.trained, "alignment")
    assert ours == {n for n in of(rows(S1).trained, "alignment")}
    for view in ("view1", "view2"):
        torch.testing.assert_close(row.loss.means[view], baseline.loss.means[view])


def test_the_pixel_loss_adds_a_term_and_a_decoder(rows):
    baseline, row = rows(S2), rows(S2, *PIXELS)
    assert row.terms == baseline.terms | {"pixels"}
    own = of(row.trained, "pixel_decoder")
    assert row.trained - own == baseline.trained
    assert_changes(row, baseline, "pixel_decoder")
    assert {n.removeprefix("pixel_") for n in own} == of(rows(S1).trained, "decoder")


def test_stage_twos_added_terms_are_means_over_the_tokens_of_all_views():
    uneven = ["stage.views.1.max_keep=0.1", "model.encoder.drop_path=0"]
    stage = build(S2, *VISIBLE, *PIXELS, *uneven)
    batch = random_batch(stage)
    terms = stage.loss(batch)
    told = stage.semantic.look(batch).layers[0]
    (head,) = stage.alignment.layers
    cosines, errors = [], []
    for view in (0, 1):
        visible, masked = stage.mask(batch, view=view)
        seen = stage.student(batch.clips["student"], visible, masked, view=view)
        theirs = told.gather(1, visible[..., None].expand(-1, -1, told.shape[-1]))
        ours = head(seen.tapped_layers[0])
        cosines.append(nn.functional.cosine_similarity(ours, theirs, dim=-1).flatten())
        target = stage.pixel_target(batch.clips["student"], masked)
        found = stage.pixel_decoder.loss(target, seen.predicted, batch.keys, layer=view + 1)
        errors.append(found.flatten())
    assert len(cosines[0]) != len(cosines[1])
    for name, values in (("layers", [-c for c in cosines]), ("pixels", errors)):
        found = terms[name].total / terms[name].count
        torch.testing.assert_close(found, torch.cat(values).mean(), rtol=1e-5, atol=1e-6)


def test_no_two_passes_under_one_key_draw_the_same_noise():
    """Stage one's, and those of stage two's views, for the same clip, seed and epoch."""
    drawn = []
    for preset, changes in ((S1, []), (S2, PIXELS)):
        stage = build(preset, *changes)
        batch = random_batch(stage)
        decoder = stage.decoder if preset == S1 else stage.pixel_decoder
        original = decoder.loss

        def spy(target, z, keys, *, layer=0, original=original):
            drawn.append(layer)
            return original(target, z, keys, layer=layer)

        decoder.loss = spy
        stage.loss(batch)
    assert drawn == [0, 1, 2]
    numbers = [normal(batch.keys, Purpose.NOISE, 8, layer=layer) for layer in drawn]
    times = [integers(batch.keys, Purpose.TIMESTEP, 64, 1000, layer=layer) for layer in drawn]
    for found in (numbers, times):
        assert not any(torch.equal(found[i], found[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


# Table 4.

MASKS = ["semantic_topk", "semantic_sampled", "random", "tube", "frame_difference"]


@pytest.mark.parametrize("mask", MASKS)
def test_stage_two_takes_stage_ones_masks_in_one_view(rows, mask):
    source = teacher("stage.teacher") if mask.startswith("semantic") else []
    row = Row(S2, f"stage.mask={mask}", *source)
    assert row.terms == {"view1"}
    assert row.trained == rows(S2).trained
    assert_changes(row, rows(S2))
    told = row.stage.semantic.look(row.batch)
    assert not told.layers.numel() and bool(told.attention.numel()) == bool(source)
    ours = row.stage.mask(row.batch, told.attention)
    first = build(S1, f"stage.mask={mask}")
    first.encoder.load_state_dict(row.stage.encoder.state_dict())
    batch = random_batch(first)
    batch.clips["student"] = row.batch.clips["student"]
    attention = told.attention if source else first.look(batch).attention
    for a, b in zip(ours, first.mask(batch, attention), strict=True):
        assert torch.equal(a, b)


def test_stage_one_takes_stage_twos_masks(rows):
    row = rows(S1, "stage.mask=multi_block", "stage.blocks.scale=0.3")
    assert (row.terms, row.trained) == (rows(S1).terms, rows(S1).trained)
    assert_changes(row, rows(S1))
    assert row.stage.look(row.batch).attention.numel() == 0
    other = build(S2, "stage.views=[{count = 8, scale = 0.3}]")
    for a, b in zip(row.stage.mask(row.batch), other.mask(row.batch), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("frames", [2, 4, 8])
@pytest.mark.parametrize("preset", [S1, S2])
def test_frames_change_how_many_tokens_there_are_and_nothing_else(rows, preset, frames):
    source = teacher("stage.teacher") if preset == S2 else []
    changes = ["stage.mask=semantic_topk", *source]
    own, row = rows(preset, *changes), rows(preset, *changes, f"stage.frames={frames}")
    assert (row.terms, row.trained) == (own.terms, own.trained)
    specs = row.stage.clip_specs
    assert {name: spec.frames for name, spec in specs.items()} == dict.fromkeys(specs, frames)
    told = row.stage.semantic.look(row.batch)
    visible, masked = row.stage.mask(row.batch, told.attention)
    assert visible.shape[1] == 4 * frames and masked.shape[1] == 12 * frames
    table = row.stage.encoder.pos_embed
    served = row.stage.encoder._positions(table, (frames, 4, 4))
    expected = table[0] if frames == 4 else resize_table(table, (4, 4, 4), (frames, 4, 4))
    torch.testing.assert_close(served, expected)


# Any of them.

ALL = {
    "pixel only": (S1, [PIXEL_ONLY, "stage.mask=random"]),
    "align only": (S1, [ALIGN_ONLY]),
    "pooled only": (S1, [PIXEL_ONLY, ALIGN_ONLY, "stage.align_pooled=true"]),
    "second teacher": (S1, SECOND),
    "multi-block": (S1, ["stage.mask=multi_block"]),
    "vit": (S1, [*VIT, "model.predictor.depth=2"]),
    "semantic": (S2, ["stage.mask=semantic_topk", *teacher("stage.teacher")]),
    "momentum": (S2, MOMENTUM),
    "target": (S2, TAUGHT),
    "visible and pixels": (S2, [*VISIBLE, *PIXELS]),
}


@pytest.mark.parametrize(("preset", "changes"), ALL.values(), ids=ALL)
def test_health_and_micro_batches_work_in_each(rows, preset, changes):
    row = rows(preset, *changes)
    compute_gradients(row.stage, row.batch, 1)
    check = HealthCheck(row.stage, row.batch)
    check.stepped()
    health = check.fetch({name: mean.item() for name, mean in row.loss.means.items()})
    assert set(health["grad_norm"]) == row.parts
    assert all(value > 0 for value in health["grad_norm"].values())
    assert set(health["cosine"]) == row.terms - {"pixels"}
    assert all(-1 <= value <= 1 for value in health["cosine"].values())
    divided = compute_gradients(row.stage, row.batch, 2)
    for name, mean in row.loss.means.items():
        torch.testing.assert_close(divided.means[name], mean, rtol=1e-5, atol=1e-6)
    largest = max(float(gradient.abs().max()) for gradient in row.gradients.values())
    for name, parameter in row.stage.named_parameters():
        if name in row.gradients:
            torch.testing.assert_close(
                parameter.grad, row.gradients[name], rtol=1e-3, atol=1e-5 * largest, msg=name
            )


REFUSED = {
    "all terms have weight 0": (S1, [PIXEL_ONLY, ALIGN_ONLY]),
    "expected at least 0": (S1, ["stage.second_weight=-1"]),
    "blocks.truncate": (S1, ["stage.mask=multi_block", "stage.blocks.truncate=none"]),
    "teacher.taps is empty": (S1, ["stage.teacher.taps=[]"]),
    "second_teacher.taps is empty": (S1, ["stage.second_teacher.kind=siglip"]),
    "mask semantic_topk follows": (S2, ["stage.mask=semantic_topk"]),
    "layers_weight 1.0 aligns": (S2, ["stage.layers_weight=1"]),
    "target.taps is empty": (S2, ["stage.target.kind=siglip"]),
    "momentum is 1.5": (S2, ["stage.target.kind=momentum", "stage.target.momentum=1.5"]),
    "different lengths": (S2, ["stage.views.0.truncate=none", *PIXELS]),
    "mask_ratio is 1.0": (S2, ["stage.mask=random", "stage.mask_ratio=1.0"]),
    "or 'none'; did you mean siglip": (S2, ["stage.teacher.kind=siglop"]),
}


@pytest.mark.parametrize(("words", "row"), REFUSED.items(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_in_words(words, row):
    preset, changes = row
    with pytest.raises(ConfigError, match=words) as error:
        small_config(preset, *changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("preset", [S1, S2])
def test_more_taps_than_blocks_are_refused(preset):
    taps = "stage.teacher.taps=[1, 2, 3]"
    with pytest.raises(ValueError, match="3 aligned layers need as many blocks, the encoder has 2"):
        small_stage(small_config(preset, *VISIBLE, taps))


@pytest.mark.parametrize(
    ("preset", "key", "name"),
    [
        (S1, "stage.second_teacher", "second teacher"),
        (S2, "stage.target", "target"),
        (S2, "stage.teacher", "teacher"),
    ],
)
def test_a_teacher_of_another_grid_is_refused_by_the_name_of_its_field(preset, key, name):
    needed = ["stage.mask=semantic_topk"] if key == "stage.teacher" else []
    config = small_config(preset, *needed, *teacher(key), f"{key}.image_size=96")
    with pytest.raises(ValueError, match=f"the {name} sees 6 x 6 .* choose {key}.image_size"):
        small_stage(config)
