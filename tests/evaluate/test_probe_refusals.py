"""What `ivn evaluate` cannot use is one line, and broken videos are left out."""

import json

import pytest
import torch

from ivn.media.source import BUNDLED_CLIPS
from tests.command import assert_one_line, command
from tests.evaluate.commanded import classify, labelled, result, write_list

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("own_cache")


def wrong_lists(patterns, tmp_path):
    """Name of what is wrong -> lists to train and, maybe, to test on, options, words."""
    rows = labelled(patterns)
    plain = [row[:1] for row in rows]
    one = labelled(patterns, lambda number: "a")
    few = [(path, label, f"g{number % 3}") for number, (path, label, _) in enumerate(rows)]
    lonely = [*rows[:12], (rows[12][0], "c", "g"), (rows[13][0], "c", "g")]
    return {
        "no labels": (
            plain,
            None,
            [],
            ["none of 20 training videos", "no labels at all; give a list with a column 'label'"],
        ),
        "unknown label": (rows, None, ["--label", "verb"], ["label 'verb': they have 'label'"]),
        "one class": (one, None, [], ["all 20 videos are of the class 'a'", "two classes"]),
        "fewer groups than folds": (few, None, [], ["3 groups", "at least 5", "--folds"]),
        "a class in one group": (lonely, None, [], ["class 'c' has usable videos in 1 group"]),
        "one fold": (rows, None, ["--folds", "1"], ["1 folds, expected at least 2"]),
        "unknown class": (
            rows[:10],
            [(rows[11][0], "zebra", ""), (rows[12][0], "a", "")],
            [],
            ["1 classes of 'label' that no training video has: 'zebra'"],
        ),
        "unlabelled test": (rows[:10], plain[10:], [], ["none of 10 test videos has the label"]),
        "unknown head": (rows, None, ["--heads", "linaer"], ["no head 'linaer'", "attentive4"]),
        "no head": (rows, None, ["--heads", ","], ["no heads, expected some of"]),
        "no pool": (rows, None, ["--pool", "attn"], ["raw has no features 'attn'"]),
        "no view": (rows, None, ["--clips", "0"], ["0 clips x 1 crops: expected at least 1"]),
        "no training view": (rows, None, ["--train-views", "0"], ["0 training views"]),
        "no epoch": (rows, None, ["--epochs", "0"], ["0 epochs"]),
        "no worker": (rows, None, ["--workers", "0"], ["--workers 0, expected at least 1"]),
        "negative rate": (rows, None, ["--lr", "-1"], ["lr [-1.0]"]),
        "no gpu": (rows, None, ["--device", "cuda"], ["PyTorch sees no GPU"]),
    }


@pytest.mark.parametrize("which", wrong_lists(BUNDLED_CLIPS, None))
def test_wrong_input_is_one_line(which, patterns, tmp_path):
    if which == "no gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    train, test, more, words = wrong_lists(patterns, tmp_path)[which]
    columns = ("path", "label", "group")
    data = write_list(tmp_path / "train.csv", train, columns[: len(train[0])])
    if test is not None:
        more = [*more, "--test", write_list(tmp_path / "test.csv", test, columns[: len(test[0])])]
    asked_wrongly = which in ("unknown head", "no head", "no worker", "negative rate")
    assert assert_one_line(classify(data, *more), *words) == (2 if asked_wrongly else 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["classify", "--data", "x"], "--encoder E ..."),
        (["classify", "--encoder", "raw"], "--data LIST"),
        (["retrieve", "--encoder", "raw"], "--data LIST"),
        (["retrieve", "--encoder", "raw", "--data", "x", "--folds", "3"], "--folds"),
        (["motion", "--encoder", "raw", "--train-views", "3"], "--train-views"),
        (["motion", "--encoder", "raw", "--crops", "3"], "--crops"),
    ],
)
def test_what_a_task_needs_or_does_not_know_is_exit_code_2(arguments, words):
    code, said, err = command("evaluate", *arguments)
    assert (code, said) == (2, "") and words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["classify", "--encoder", "--data", "x"], "give --encoder E"),
        (["motion", "--encoder", "raw", "--workers", "0"], "--workers 0, expected at least 1"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, words):
    assert assert_one_line(command("evaluate", *arguments), words) == 2


def test_what_is_not_there_is_one_line(clips, tmp_path):
    assert assert_one_line(classify(tmp_path / "no.csv"), "no such file") == 1
    assert assert_one_line(classify(BUNDLED_CLIPS), "no labels at all; give a list with") == 1
    assert assert_one_line(classify(clips, encoder=["--encoder", "nothing"]), "no encoder") == 1
    code, said, err = command("predict", "x.mp4")
    assert (code, said) == (2, "") and "--head HEAD" in err
    assert assert_one_line(command("predict", "--head", tmp_path), "at least one VIDEO") == 2
    assert assert_one_line(command("predict", "x.mp4", "--head", tmp_path), "no head in") == 1
    assert assert_one_line(command("predict", "x", "--head", tmp_path / "h"), "no head at") == 1


def test_broken_videos_are_named_and_left_out_of_the_split(patterns, tmp_path):
    (tmp_path / "broken.mkv").write_text("no video")
    rows = [*labelled(patterns), (tmp_path / "broken.mkv", "a", "")]
    out = tmp_path / "out"
    code, said, err = classify(write_list(tmp_path / "l.csv", rows), "--heads", "knn", "--out", out)
    assert code == 0 and err.count("\n") == 1 and "skipped: " in err and "broken.mkv" in err
    found = json.loads((out / "result.json").read_text())
    assert found["n"] == 20 and found["skipped"][0]["path"].endswith("broken.mkv")
    assert "1 videos could not be used" in said
    assert_one_line(classify(write_list(tmp_path / "l.csv", rows), "--out", out), "holds a result")
    # The other video of its class was all there was.
    rows = [*labelled(patterns, count=10), (rows[11][0], "c", ""), (rows[-1][0], "c", "")]
    said = classify(write_list(tmp_path / "m.csv", rows), "--heads", "knn")
    assert assert_one_line(said, "class 'c' has usable videos in 1 group") == 1


def test_raw_is_no_folder(patterns, tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    monkeypatch.chdir(tmp_path)
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    result(classify(data, "--heads", "knn", "--holdout", "--out", "out"))
    assert command("predict", patterns / "0.mkv", "--head", "out")[0] == 0


def test_a_card_that_lacks_something_is_one_line(patterns, tmp_path):
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    out = tmp_path / "out"
    result(classify(data, "--heads", "knn", "--holdout", "--out", out))
    (file,) = out.glob("heads/*.json")
    whole = json.loads(file.read_text())
    for change, word in (
        ({"encoder": None}, "'encoder'"),
        ({"pool": None}, "'pool'"),
        ({"label": None}, "'label'"),
        ({"encoder": {"name": "raw"}}, "'identity'"),
        ({"encoder": "raw"}, "not a head as it was"),
        ({"pool": "max"}, "pool"),
        ({"pool": "attn"}, "raw has none, frames, mean"),
        ({"label": 3}, "label"),
        ({"classes": [1, 2]}, "classes"),
    ):
        card = whole | change
        kept = {name: value for name, value in card.items() if value is not None}
        file.write_text(json.dumps(kept))
        said = command("predict", patterns / "0.mkv", "--head", out)
        assert assert_one_line(said, word) == 1
