"""`ivn probe` and `ivn predict` on real clips, and what they refuse."""

import csv
import json

import pytest

from ivn.data.source import BUNDLED_CLIPS
from tests.command import command

pytest.importorskip("av")
SIGNS = sorted(path.name for path in BUNDLED_CLIPS.glob("asl-*.mp4"))
PEOPLE = sorted(path.name for path in BUNDLED_CLIPS.glob("*face*.mp4"))
SMALL = ["--encoder", "stage1-tiny", "--frames", "4", "--size", "56"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Features of these tests: shared by them, and nobody else's."""
    place = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    monkeypatch.setenv("COLUMNS", "100")
    return place


def write_list(path, rows, columns=("path", "label", "group")):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(rows)
    return path


def bundled(names, label):
    return [(BUNDLED_CLIPS / name, label, "") for name in names]


@pytest.fixture
def clips(tmp_path):
    """Eight signs and five faces; labels are true."""
    return write_list(tmp_path / "list.csv", bundled(SIGNS, "sign") + bundled(PEOPLE, "face"))


def classify(data, *more):
    return command("probe", "classify", *SMALL, "--data", data, *more)


def test_real_clips_are_told_apart_and_predicted_as_they_were(clips, tmp_path):
    out = tmp_path / "out"
    code, said, err = classify(clips, "--folds", "3", "--out", out)
    assert (code, err) == (0, "")
    found = json.loads(said.splitlines()[-1])
    assert found == json.loads((out / "result.json").read_text())
    assert (found["format"], found["task"], found["n"], found["groups"]) == (1, "classify", 13, 13)
    assert found["classes"] == ["face", "sign"] and found["chance"] == 0.5
    assert found["majority"] == pytest.approx(8 / 13)
    assert [(row["encoder"], row["head"]) for row in found["rows"]] == [
        *[("stage1-tiny", "linear"), ("stage1-tiny", "knn"), ("raw", "linear"), ("raw", "knn")]
    ]
    assert [row["baseline"] for row in found["rows"]] == [False, False, True, True]
    assert sum(map(sum, found["confusion"])) == 13
    rows = list(csv.reader((out / "confusion.csv").read_text().splitlines()))
    assert rows[0][1:] == ["face", "sign"] and [len(row) for row in rows] == [3, 3, 3]
    code, said, err = command("predict", *[BUNDLED_CLIPS / name for name in SIGNS], "--head", out)
    assert (code, err) == (0, "")
    right = sum(" sign " in line.partition(",")[0] for line in said.splitlines())
    assert right == 8
