"""Each row changes the settings that its name says, at every scale."""

import pytest

from ivn.ablation.paper import TABLES, recipe, table
from ivn.config.presets import PRESETS, SCALES
from ivn.config.run import differences, override


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_a_config(name, scale):
    for row in table(name, scale).rows:
        base = PRESETS[f"{row.stage}-{scale}"]()
        assert override(base, *recipe(scale, row.stage), *row.settings).stage.kind == row.stage


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_a_number_a_column(name):
    found = table(name, "base")
    assert all(len(row.paper) == len(found.columns) for row in found.rows)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", TABLES)
def test_stage_two_starts_from_a_row_of_stage_one(name, scale):
    rows = {row.name: row for row in table(name, scale).rows}
    for row in rows.values():
        assert not row.start or rows[row.start].stage == "stage1"


DECODER = ("model.decoder.",)
# What sets a row apart from the recipe, at the paper's own scale: some of the values, and where all
# of the differences lie.
CHANGES = {
    ("1a", "Pixel Recon. Baseline"): (
        {"stage.layers_weight": "0.0", "model.decoder.kind": '"pixel"'},
        ("stage.layers_weight", "stage.pooled_weight", "model.predictor.init", *DECODER),
    ),
    ("1a", "SigLIP Align only"): (
        {"stage.pixels_weight": "0.0"},
        ("stage.pixels_weight", "model.predictor.init"),
    ),
    ("1a", "+ Text-Decoder Init"): ({"model.decoder.kind": '"pixel"'}, DECODER),
    ("1a", "+ Keep Both"): ({}, ()),
    ("1b", "ModernBert-L last8"): (
        {"model.predictor.layers": "8"},
        ("model.predictor.layers",),
    ),
    ("1b", "Depth-12 ViT"): ({"model.predictor.depth": "12"}, ("model.predictor.",)),
    ("1c", "3-Layer MLP Head"): ({"model.decoder.depth": "3"}, DECODER),
    ("1c", "DiffMLP D9 W2048"): (
        {"model.decoder.depth": "9", "model.decoder.width": "2048"},
        ("model.decoder.depth", "model.decoder.width"),
    ),
    ("2", "Ours w/ DinoV2 align"): (
        {"stage.teacher.kind": '"timm"'},
        ("stage.teacher.kind", "stage.teacher.source", "stage.teacher.image_size"),
    ),
    ("2", "SigLIP+VideoMAE align"): (
        {"stage.second_teacher.kind": '"videomae"', "stage.second_teacher.dtype": '"bfloat16"'},
        ("stage.pixels_weight", "stage.second_teacher."),
    ),
    ("3", "w/ Zero-Init V-JEPA Predictor"): (
        {"stage.start": '"encoder"', "model.predictor.kind": '"vit"'},
        ("stage.start", "model.predictor."),
    ),
    ("3", "w/ Momentum 0.9998 Target"): (
        {"stage.target.kind": '"momentum"', "stage.target.momentum": "0.9998"},
        ("stage.target.",),
    ),
    ("3", "w/ Frozen SigLIP2 Target"): (
        {"stage.target.kind": '"siglip"', "stage.target.dtype": '"bfloat16"'},
        ("stage.target.",),
    ),
    ("3", "w/ Frozen InternVideo2 Target"): (
        {"stage.target.source": '"iv2.pt"'},
        ("stage.target.",),
    ),
    ("3", "w/ Unmasked Token Alignment Loss"): (
        {"stage.layers_weight": "1.0", "stage.teacher.dtype": '"bfloat16"'},
        ("stage.layers_weight", "stage.teacher."),
    ),
    ("3", "w/ Pixel Reconstruction Loss"): (
        {"stage.pixels_weight": "1.0"},
        ("stage.pixels_weight",),
    ),
    ("4-masks", "Stage-1, multi-block, 8 frames"): (
        {"stage.mask": '"multi_block"'},
        ("stage.mask",),
    ),
    ("4-masks", "Stage-2, semantic, 8 frames"): (
        {"stage.mask": '"semantic_topk"'},
        ("stage.mask", "stage.teacher."),
    ),
    ("4-frames", "Stage-1, semantic, 32 frames"): ({"stage.frames": "32"}, ("stage.frames",)),
}


@pytest.mark.parametrize(("name", "row"), CHANGES)
def test_a_row_changes_what_its_name_says_and_nothing_else(name, row):
    rows = table(name, "base", internvideo2="iv2.pt").rows
    found = next(each for each in rows if each.name == row)
    base = override(PRESETS[f"{found.stage}-base"](), *recipe("base", found.stage))
    changed = {key: new for key, _, new in differences(base, override(base, *found.settings))}
    values, places = CHANGES[name, row]
    assert {key: changed.get(key) for key in values} == values
    assert [key for key in changed if not key.startswith(tuple(places))] == []


def test_tiny_has_no_text_encoder_and_says_so():
    rows = {row.name: row.missing for row in table("1a", "tiny").rows}
    assert [name for name, missing in rows.items() if missing] == [
        "+ Text-Decoder Init",
        "+ Keep Both",
    ]


def test_no_decoder_of_tiny_is_narrower_than_a_patch():
    widths = [
        int(setting.partition("=")[2])
        for row in table("1c", "tiny").rows
        for setting in row.settings
        if setting.startswith("model.decoder.width")
    ]
    assert len(widths) == 5 and min(widths) >= 3 * 14 * 14
