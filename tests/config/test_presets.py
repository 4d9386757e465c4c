import re

import pytest

from ivn.config.presets import PRESETS, SCALES
from ivn.config.run import differences, override
from tests.processes import ROOT

ROW = re.compile(r"\| ([12, ]+) \| `([\w.]+)` \| `([^`]+)` \| `([^`]+)` \| \S.* \|")


def documented(stage):
    """Field -> its values in the plain and the official preset, from docs/presets.md."""
    rows = ROW.findall((ROOT / "docs" / "presets.md").read_text())
    assert len(rows) == 18
    return {field: (ours, theirs) for stages, field, ours, theirs in rows if stage in stages}


def differing(stage, size):
    """The same from the presets themselves; all views differ alike."""
    pair = (PRESETS[name]() for name in (f"stage{stage}-{size}", f"stage{stage}-{size}-official"))
    rows = [(re.sub(r"\.\d+\b", "", key), (a, b)) for key, a, b in differences(*pair)]
    assert all(dict(rows)[key] == values for key, values in rows)
    return dict(rows)


ABLATION = re.compile(r"^\| ([1-4][abc]?) \| ([^|`]+) \| `([^`]+)` \|$", re.MULTILINE)
ABLATIONS = ABLATION.findall((ROOT / "docs" / "presets.md").read_text())


@pytest.mark.parametrize(("table", "row", "settings"), ABLATIONS)
def test_every_row_of_the_ablations_is_settings_that_can_be_given(table, row, settings):
    of_stage_two = table == "3" or "stage two" in row
    config = PRESETS[f"stage{2 if of_stage_two else 1}-base"]()
    assert override(config, *settings.split()).name == config.name


def test_all_tables_of_ablations_are_documented():
    assert [table for table, *_ in ABLATIONS].count("3") == 6
    assert {table for table, *_ in ABLATIONS} == {"1a", "1b", "1c", "2", "3", "4"}


@pytest.mark.parametrize("stage", "12")
def test_every_difference_between_paper_and_release_is_documented_and_no_other(stage):
    assert differing(stage, "base") == documented(stage)


@pytest.mark.parametrize("size", SCALES)
@pytest.mark.parametrize("stage", "12")
def test_other_sizes_differ_in_the_same_fields(stage, size):
    fields, expected = differing(stage, size).keys(), documented(stage).keys()
    if size in ("large", "huge"):
        expected -= {"stage.mask_group"}
    assert fields <= expected if size == "tiny" else fields == expected


def test_groups_of_clips_are_the_release_s_and_divide_the_plain_batch():
    for size, ours, theirs in (
        *(("tiny", 0, 0), ("small", 16, 14), ("base", 16, 14), ("large", 8, 8), ("huge", 8, 8)),
    ):
        for stage in "12":
            plain, official = (
                PRESETS[f"stage{stage}-{size}"](),
                PRESETS[f"stage{stage}-{size}-official"](),
            )
            assert (plain.stage.mask_group, official.stage.mask_group) == (ours, theirs)
            assert ours == 0 or plain.optim.batch_size % ours == 0


@pytest.mark.parametrize("size", ["large", "huge"])
def test_what_is_said_of_large_sizes_holds(size):
    assert differing("1", size)["stage.teacher.taps"] == ("[40]", "[31, 33, 34, 36, 38, 39]")
    assert differing("2", size)["optim.batch_size"] == ("2048", "1024")
