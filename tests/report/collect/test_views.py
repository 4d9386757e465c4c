"""What is drawn of a run is what the run does."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from ivn.data.batch import Batch, ClipSpec
from ivn.data.manifest.listing import list_clips
from ivn.data.sampling.plan import Plan
from ivn.keys import make_keys
from ivn.media.source import BUNDLED_CLIPS, Source
from ivn.report.collect.clips import Clip, read_some
from ivn.report.collect.features import Extractor, extract, extractors, film, neighbours
from ivn.report.collect.opened import Opened, open_run
from ivn.report.collect.pictures import pictures
from ivn.report.collect.reconstructions import (
    SAMPLING_STEPS,
    affordable,
    reconstructions,
)
from ivn.report.collect.views import mask_films, masked_clip
from ivn.report.draw.picture import MASKED
from ivn.report.page.content import Missing
from tests.small import random_batch, small_config, small_stage

pytest.importorskip("transformers")

BUNDLED = list_clips(BUNDLED_CLIPS)


def run_of(preset, *changes, name="run"):
    """A run with random weights, and a clip for it."""
    config = small_config(preset, *changes)
    stage = small_stage(config).eval().requires_grad_(False)
    views = random_batch(stage, 1).clips
    return Opened(name, config, stage, stage.encoder), Clip("clip.mp4", {name: views})


@pytest.mark.parametrize("mask", ["semantic_sampled", "random", "tube", "multi_block"])
def test_masks_are_those_that_the_run_draws(mask):
    run, clip = run_of("stage1-tiny", f"stage.mask={mask}")
    found = masked_clip(run, clip, 5)
    batch = Batch(dict(clip.views["run"]), make_keys(run.config.data.seed, 0, [5]))
    told = run.stage.semantic.look(batch).attention
    views = range(run.stage.masking.views)
    for view, mask_found in zip(views, found.masks, strict=True):
        visible, _ = run.stage.mask(batch, told, view=view)
        assert mask_found.visible.tolist() == visible[0].tolist()
    films = mask_films(found, patch_size=14, suffix="")
    share = len(found.masks[0].visible) / 64
    assert films[0].note == f"{share:.0%} of the tokens"
    assert (films[0].pixels == MASKED).all(3).mean() == pytest.approx(1 - share, abs=0.01)
    # Asked of the teacher even where the mask did without it.
    assert found.attention.shape == (4, 4, 4)


def test_masks_of_a_source_that_is_repeated_are_those_of_its_first_clip():
    run, clip = run_of("stage2-tiny", "data.repeats=4", "optim.batch_size=8")
    plan = Plan([Source(f"{number}.mp4") for number in range(20)], run.config.data, 8)
    batch = random_batch(run.stage, 8)
    for number in range(10):
        keys = plan.keys(number // 2)
        trained = replace(batch, keys=keys, host_keys=keys, repeats=4)
        for view, found in enumerate(masked_clip(run, clip, number).masks):
            visible, _ = run.stage.mask(trained, view=view)
            assert found.visible.tolist() == visible[number % 2 * 4].tolist()


def test_every_view_of_stage_two_is_drawn_without_a_teacher():
    run, clip = run_of("stage2-tiny")
    found = masked_clip(run, clip, 0)
    assert [mask.label for mask in found.masks] == ["visible, view 1", "visible, view 2"]
    assert found.attention is None and run.stage.decoder_of_pixels is None


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ([], ["frame", "visible", *(f"{steps} steps" for steps in SAMPLING_STEPS)]),
        (["model.decoder.kind=pixel"], ["frame", "visible", "prediction"]),
    ],
)
def test_visible_patches_of_a_reconstruction_are_the_originals(changes, labels):
    run, clip = run_of("stage1-tiny", *changes)
    strips = reconstructions(run, [clip, clip])
    films = strips[0].films
    assert [film.label for film in films] == labels
    frame, visible = films[0].pixels, films[1].pixels
    np.testing.assert_array_equal(frame[0], clip.views["run"]["student"][0, 2].numpy())
    seen = visible != MASKED
    for film_drawn in films[2:]:
        assert (film_drawn.pixels[seen] == frame[seen]).all()
        assert (film_drawn.pixels != visible).any() and film_drawn.note.endswith(" dB")
    if not changes:
        singles = strips[1].films
        assert [film.label for film in singles[::2]] == [
            f"noise of step {t}" for t in (100, 400, 700)
        ]
        errors = [float(np.abs(film.pixels.astype(int) - frame).mean()) for film in singles[::2]]
        assert 0 < errors[0] < errors[1] < errors[2]


def test_a_cpu_is_not_asked_for_long_samples_of_large_decoders():
    run, _ = run_of("stage1-tiny")
    decoder = run.stage.decoder_of_pixels
    assert affordable(decoder, 100, torch.device("cpu")) == SAMPLING_STEPS
    assert affordable(decoder, 10**9, torch.device("cpu")) == SAMPLING_STEPS[:1]
    assert affordable(decoder, 10**9, torch.device("cuda")) == SAMPLING_STEPS


def test_what_no_memory_is_large_enough_for_is_told(tmp_path, monkeypatch):
    missing = []
    config = small_config("stage1-tiny", "model.decoder.width=100000000")
    run = open_run(tmp_path, config, "run", missing)
    assert run.stage is None and "cannot be built here" in missing[0].why
    told = []
    assert not read_some(BUNDLED[:1], {"run": {"student": ClipSpec(2, 10**7)}}, 1, told)
    assert told[0].what == f"clip {Path(BUNDLED[0].path).name}"
    full = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr("torch.nn.Module.to", mock.Mock(side_effect=full))
    told.clear()
    run, _ = run_of("stage2-tiny")
    assert pictures([run], [], BUNDLED[:1], told).masks == ()
    assert told == [Missing("pictures of run", "CUDA out of memory")]


def test_each_teacher_and_random_encoder_is_there_once():
    one, clip = run_of("stage1-tiny", name="one")
    two, _ = run_of("stage2-tiny", name="two")
    again, _ = run_of("stage1-tiny", "data.seed=3", name="again")
    found = extractors([one, two, again], ["one", "two"])
    labels = ["teacher", "random", "stage 1, one", "stage 2", "stage 1, again"]
    assert [extractor.label for extractor in found] == labels
    for extractor in found[:3]:
        features = extract(extractor, clip)
        assert features.shape[:3] == (4, 4, 4)
        assert film(extractor, features).pixels.shape == (4, 4, 4, 3)
    trained = extract(found[2], clip).reshape(64, -1)
    video = clip.views["one"]["student"]
    np.testing.assert_array_equal(trained, one.encoder(video)[0].numpy())
    # Nothing was trained here: the encoder is still what its run began with.
    np.testing.assert_array_equal(trained, extract(found[1], clip).reshape(64, -1))


def test_another_teacher_is_named_by_its_run():
    runs = [run_of("stage1-tiny", name="one")[0]]
    runs.append(run_of("stage1-tiny", "stage.teacher.taps=[3]", name="two")[0])
    second = [f"stage.second_teacher.{x}" for x in ("kind=siglip", "source=tiny", "image_size=64")]
    second += ["stage.second_teacher.taps=[4]", "stage.second_teacher.weights=random"]
    runs.append(run_of("stage1-tiny", *second, name="three")[0])
    labels = [extractor.label for extractor in extractors(runs, ["one", "two", "three"])]
    assert labels[:3] == ["teacher", "teacher, two", "second teacher"]


def test_neighbours_are_told_by_what_is_left_without_the_mean():
    common = np.array([100.0, 0, 0], np.float32)
    means = [common + step for step in np.float32([[0, 1, 0], [0, 2, 0.1], [0, -1, 0], [0, -2, 1]])]
    extractor = Extractor("encoder", "run", lambda views: None, 0.0)
    found = neighbours(extractor, means, [0, 2], 2)
    centred = np.stack(means) - np.mean(means, axis=0)
    cosine = centred[0] @ centred[1] / np.linalg.norm(centred[0]) / np.linalg.norm(centred[1])
    assert [clip for clip, _ in found.nearest[0]] == [1, 2] and found.nearest[2][0][0] == 3
    assert found.nearest[0][0][1] == pytest.approx(cosine, abs=1e-5)
