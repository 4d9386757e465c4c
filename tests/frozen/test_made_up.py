"""A teacher that ivn has not heard of, in one file and one registration, teaches a stage."""

import typing
from dataclasses import replace
from unittest import mock

import pytest

from ivn.frozen import NETWORKS, TeacherConfig, build_teacher, frames_seen
from tests.frozen.made_up import MadeUpNetwork
from tests.small import random_batch, small_config, small_stage

CONFIG = TeacherConfig("made_up", "anything", 64, taps=(1,))


@pytest.fixture(autouse=True)
def known():
    """The teacher is known while a test of this file runs, and to no other."""
    with mock.patch.dict(NETWORKS, {CONFIG.kind: MadeUpNetwork}):
        yield


def stage_of(**changes):
    config = small_config("stage1-tiny")
    return small_stage(replace(config, stage=replace(config.stage, teacher=CONFIG, **changes)))


def test_it_teaches_a_stage_on_as_many_frames_as_it_sees():
    stage = stage_of(teacher_input="decoded")
    assert stage.clip_specs["teacher"].frames == frames_seen(CONFIG, 4) == 12
    terms = stage.loss(random_batch(stage))
    assert terms["layers"].total.isfinite()
    with pytest.raises(ValueError, match="a made_up teacher sees 12 frames, the student 4"):
        stage_of(teacher_input="student")


def test_without_its_source_it_says_what_to_give():
    message = "the made_up teacher has no source: give stage.teacher.source, the word anything"
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_teacher(replace(CONFIG, source=""))


def test_the_kinds_of_the_config_are_the_registered_ones():
    kinds = typing.get_args(typing.get_type_hints(TeacherConfig)["kind"])
    assert (*kinds, CONFIG.kind) == tuple(NETWORKS)
