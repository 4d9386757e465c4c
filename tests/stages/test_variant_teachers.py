"""A second teacher, and teachers of clips: table 2 of the paper."""

import pytest
import torch
from torch import nn

from ivn.data.batch import ClipSpec
from ivn.model.alignment import Alignment
from ivn.model.encoder import CLS_TOKENS
from tests.small import random_batch, small_config, small_stage
from tests.stages.variants import ALIGN_ONLY, S1, S2, Row, assert_changes, build, of, teacher

pytest.importorskip("transformers")

SECOND = teacher("stage.second_teacher")
SMALL = teacher("stage.teacher")[1:]


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
    assert "second_teacher" not in row.stage.teachers


def test_the_second_term_is_the_cosine_to_the_second_teacher():
    more = [*SECOND[:-2], "stage.second_teacher.taps=[2, 3]", SECOND[-1]]
    stage = build(S1, ALIGN_ONLY, *more)
    batch = random_batch(stage)
    visible, masked = stage.mask(batch, stage.look(batch).attention)
    seen = stage.student(batch.clips["student"], visible, masked, keys=batch.keys)
    term = stage.second_term(batch, seen, visible)
    told = stage.teachers["second_teacher"].network(batch.clips["second_teacher"]).layers
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


@pytest.mark.parametrize("kind", ["efficientnet", "siglip", "timm", "videomae", "vjepa2"])
def test_the_config_tells_the_clips_of_each_kind_of_teacher(kind):
    if kind in ("efficientnet", "timm"):
        pytest.importorskip({"efficientnet": "efficientnet_lite_pytorch"}.get(kind, kind))
    known = {
        "efficientnet": ["source=", "taps=[1]", "image_size=128"],
        "timm": ["source=vit_tiny_patch16_224", "taps=[4]"],
    }
    changes = [f"stage.teacher.{setting}" for setting in known.get(kind, [])]
    stage = small_stage(small_config(S1, f"stage.teacher.kind={kind}", *SMALL, *changes))
    network, spec = stage.teachers["teacher"].network.network, stage.clip_specs["teacher"]
    assert (spec.frames, spec.size) == (4 * network.frames_per_slot, network.image_size)


def test_a_teacher_that_is_shown_the_students_pixels_has_no_clips_of_its_own():
    row = Row(S1, "stage.teacher_input=student")
    assert row.stage.clip_specs == {"student": ClipSpec(4, 56)}
    assert row.terms == {"layers", "pixels"}


def test_a_network_of_clips_is_not_shown_the_students_frames():
    video = ["stage.teacher.kind=vjepa2", "stage.teacher_input=student", "stage.mask=random"]
    with pytest.raises(ValueError, match=r"sees 8 frames, the student 4: .*teacher_input"):
        small_stage(small_config(S1, *video))
