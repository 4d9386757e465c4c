"""What all runs of a table share, and where a change to it goes."""

import json
from dataclasses import replace

import pytest

from ivn.ablation.options import Ablate
from ivn.ablation.paper import table
from ivn.ablation.runs import Lab

CHANGES = ("stage.teacher.image_size=128", "stage.teacher.dtype=bfloat16", "optim.lr=2e-3")


@pytest.fixture
def lab(tmp_path):
    options = Ablate(table="3", data="clips", out=tmp_path, seeds=1, settings=CHANGES)
    return Lab(options, table("3", "tiny"), (), ())


def row(lab, name):
    return next(row for row in lab.table.rows if name in row.name)


@pytest.mark.parametrize(
    ("name", "where"),
    [("Stage 1", "teacher"), ("Frozen SigLIP2", "target"), ("Unmasked", "teacher")],
)
def test_a_change_of_the_teacher_goes_where_the_row_has_it(lab, name, where):
    teacher = getattr(lab.config(row(lab, name), 0).stage, where)
    assert (teacher.kind, teacher.image_size, teacher.dtype) == ("efficientnet", 128, "bfloat16")


@pytest.mark.parametrize("name", ["Our Stage 2", "Momentum", "Zero-Init", "Pixel"])
def test_rows_without_it_take_the_other_changes_alone(lab, name):
    config = lab.config(row(lab, name), 0)
    assert config.optim.lr == 2e-3
    assert config.stage.teacher.kind == "none"


def test_scores_are_top_1_or_the_mean_average_precision_of_several_labels(lab, tmp_path):
    lab = replace(lab, labels=("action", "objects"))
    for name, score in (("action", "top1"), ("objects", "map")):
        place = tmp_path / "probes" / name / "result.json"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps({"rows": [{score: {"value": 0.25}}, {score: {"value": 1.0}}]}))
    assert lab._scores([tmp_path]) == {"action": [25.0], "objects": [25.0]}
