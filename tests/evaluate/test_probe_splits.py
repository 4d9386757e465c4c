"""`ivn evaluate` never judges a video by a head that saw its twin."""

import os
import shutil

import numpy as np
import pytest

from tests.command import assert_one_line, command
from tests.evaluate.commanded import RAW, classify, labelled, result, write_list

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("own_cache")


# Other windows than the original's: the same clip twice would be counted once.


def copied(patterns, folder, number):
    return shutil.copy(patterns / f"{number}.mkv", folder / f"copy {number}.mkv"), "", 0, 1.5


def linked(patterns, folder, number):
    os.symlink(patterns / f"{number}.mkv", folder / f"link {number}.mkv")
    return folder / f"link {number}.mkv", "", 0, 1.5


def windowed(patterns, folder, number):
    return patterns / f"{number}.mkv", "", 0.5, 1.5


def grouped(patterns, folder, number):
    """Other bytes of the same look, as a re-encoded copy has."""
    whole = (patterns / f"{number}.mkv").read_bytes()
    (folder / f"other {number}.mkv").write_bytes(whole + b"\0")
    return folder / f"other {number}.mkv", f"film {number}", 0, -1


@pytest.mark.parametrize("twin", [copied, linked, windowed, grouped])
def test_no_split_parts_a_video_from_its_twin(twin, patterns, tmp_path):
    # Labels are drawn: whoever sees a twin in training gets all right, all others guess.
    words = np.random.default_rng(1).permuted(["a", "b"] * 10)
    rows = []
    for number in range(20):
        path, group, start, end = twin(patterns, tmp_path, number)
        rows.append((patterns / f"{number}.mkv", words[number], group, 0, -1))
        rows.append((path, words[number], group, start, end))
    data = write_list(tmp_path / "l.csv", rows, ("path", "label", "group", "start", "end"))
    for more in (["--folds", "5"], ["--folds", "4", "--holdout"]):
        found = result(classify(data, "--heads", "knn", *more))
        assert found["split"]["groups"] == 20
        assert found["rows"][0]["top1"]["value"] < 0.7
    lists = [
        write_list(
            tmp_path / f"{side}.csv", rows[side::2], ("path", "label", "group", "start", "end")
        )
        for side in (0, 1)
    ]
    code = assert_one_line(
        classify(lists[0], "--test", lists[1]),
        "20 of 20 test videos are of",
        "keep a group on one side",
    )
    assert code == 1
    found = result(command("evaluate", "retrieve", *RAW, "--data", data))
    assert found["rows"][0]["recall1"]["value"] < 0.7


def test_a_twin_that_nothing_tells_of_would_be_found(patterns, tmp_path):
    words = np.random.default_rng(1).permuted(["a", "b"] * 10)
    rows = []
    for number in range(20):
        path, *_ = grouped(patterns, tmp_path, number)
        rows += [(patterns / f"{number}.mkv", words[number], ""), (path, words[number], "")]
    found = result(classify(write_list(tmp_path / "l.csv", rows), "--heads", "knn"))
    # A fifth of the twins lie in the fold that is held out.
    assert found["rows"][0]["top1"]["value"] > 0.85


def test_a_test_list_is_judged_by_heads_of_the_other(patterns, tmp_path):
    rows = labelled(patterns)
    train, test = (
        write_list(tmp_path / f"{name}.csv", part)
        for name, part in (("train", rows[:14]), ("test", rows[14:]))
    )
    found = result(classify(train, "--test", test, "--heads", "knn", "--crops", "3"))
    assert (found["n"], found["split"]["kind"]) == (6, "test list")
    assert (found["split"]["train"], found["split"]["test"]) == ([14], [6])
