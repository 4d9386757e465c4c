"""Each row of the paper's ablations changes what it says, and nothing else: terms, and all."""

import pytest
import torch

pytest.importorskip("rich")
pytest.importorskip("transformers")

from ivn.errors import ConfigError
from ivn.model.decoder import DiffusionDecoder
from ivn.model.model import Model
from ivn.model.predictor import Predictor
from ivn.stages.stage1 import Stage1
from ivn.train.gradients import compute_gradients
from ivn.train.health import HealthCheck
from tests.small import small_config, small_stage
from tests.stages.test_variant_targets import MOMENTUM, TAUGHT
from tests.stages.test_variant_teachers import SECOND
from tests.stages.variants import (
    ALIGN_ONLY,
    PIXEL_ONLY,
    PIXELS,
    S1,
    S2,
    VISIBLE,
    VIT,
    Row,
    assert_changes,
    of,
    teacher,
)


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
    assert not row.stage.teachers
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
    teacher = full.teachers["teacher"].network
    model = Model(full.encoder, full.predictor, full.decoder, full.alignment)
    for change, parts in ((ALIGN_ONLY, {"alignment"}), (PIXEL_ONLY, {"predictor", "decoder"})):
        stage = Stage1(small_config(S1, change).stage, model, {"teacher": teacher})
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
    "second_weight is -1.0, expected at least 0": (S1, ["stage.second_weight=-1"]),
    "pixels_weight is -1.0, expected at least 0": (S2, ["stage.pixels_weight=-1"]),
    "frames 0, size 56: expected at least 1": (S1, ["stage.frames=0"]),
    "frames 4, size 0: expected at least 1": (S2, ["stage.size=0"]),
    "frame_difference needs 2 frames": (S2, ["stage.mask=frame_difference", "stage.frames=1"]),
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
