"""Each row changes the settings that its name says, at every scale."""

import pytest

from ivn.ablation.paper import TABLES, recipe, table
from ivn.config import differences, override
from ivn.presets import PRESETS, SCALES


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
        assert (row.stage == "stage2") == bool(row.start)
        assert not row.start or rows[row.start].stage == "stage1"


# What sets a row apart from the recipe, at the paper's own scale.
CHANGES = {
    ("1a", "Pixel Recon. Baseline"): {
        "stage.layers_weight": "0.0",
        "model.decoder.kind": '"pixel"',
        "model.predictor.init": '"scratch"',
    },
    ("1a", "SigLIP Align only"): {"stage.pixels_weight": "0.0"},
    ("1a", "+ Text-Decoder Init"): {"model.decoder.kind": '"pixel"', "model.decoder.depth": "1"},
    ("1a", "+ Keep Both"): {},
    ("1b", "ModernBert-L last8"): {"model.predictor.layers": "8"},
    ("1b", "Depth-12 ViT"): {"model.predictor.kind": '"vit"', "model.predictor.depth": "12"},
    ("1c", "3-Layer MLP Head"): {"model.decoder.kind": '"pixel"', "model.decoder.depth": "3"},
    ("1c", "DiffMLP D9 W2048"): {"model.decoder.depth": "9", "model.decoder.width": "2048"},
    ("2", "Ours w/ DinoV2 align"): {"stage.teacher.kind": '"timm"'},
    ("2", "SigLIP+VideoMAE align"): {
        "stage.pixels_weight": "0.0",
        "stage.second_teacher.kind": '"videomae"',
    },
    ("3", "w/ Zero-Init V-JEPA Predictor"): {
        "stage.start": '"encoder"',
        "model.predictor.kind": '"vit"',
    },
    ("3", "w/ Momentum 0.9998 Target"): {
        "stage.target.kind": '"momentum"',
        "stage.target.momentum": "0.9998",
    },
    ("3", "w/ Frozen SigLIP2 Target"): {"stage.target.kind": '"siglip"'},
    ("3", "w/ Unmasked Token Alignment Loss"): {
        "stage.layers_weight": "1.0",
        "stage.teacher.kind": '"siglip"',
    },
    ("3", "w/ Pixel Reconstruction Loss"): {"stage.pixels_weight": "1.0"},
    ("4", "Stage-1, multi-block, 8 frames"): {"stage.mask": '"multi_block"'},
    ("4", "Stage-2, semantic, 8 frames"): {"stage.mask": '"semantic_topk"'},
    ("4", "Stage-1, semantic, 32 frames"): {"stage.frames": "32"},
}


@pytest.mark.parametrize(("name", "row"), CHANGES)
def test_a_row_changes_what_its_name_says(name, row):
    found = next(each for each in table(name, "base").rows if each.name == row)
    base = override(PRESETS[f"{found.stage}-base"](), *recipe("base", found.stage))
    changed = {key: new for key, _, new in differences(base, override(base, *found.settings))}
    expected = CHANGES[name, row]
    assert {key: changed.get(key) for key in expected} == expected
    assert bool(changed) == bool(expected)


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
