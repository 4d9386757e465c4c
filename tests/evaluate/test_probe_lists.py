"""What `ivn evaluate` makes of rows without a label or a group, and of a video that comes twice."""

import os
import shutil

import pytest

from tests.command import assert_one_line, command
from tests.evaluate.commanded import RAW, classify, labelled, result, write_list

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("own_cache")

KNN = ("--heads", "knn")
WINDOWED = ("path", "label", "group", "start", "end")


def retrieve(data):
    return command("evaluate", "retrieve", *RAW, "--data", data)


def lines(said):
    return said[1].splitlines()[:-1]


def test_rows_without_the_label_are_counted_on_both_sides(patterns, tmp_path):
    # Nothing and blanks are no label, and so are separators alone.
    train = labelled(patterns, lambda number: ("a", "b", "", " ", ";")[number % 5], count=15)
    test = labelled(patterns, lambda number: "ab"[number % 2] if number > 16 else "")[15:]
    data, judged = write_list(tmp_path / "l.csv", train), write_list(tmp_path / "t.csv", test)
    said = classify(data, "--test", judged, *KNN)
    found = result(said)
    assert (found["listed"], found["unlabelled"]) == (15, 9)
    assert (found["listed_test"], found["unlabelled_test"]) == (5, 2)
    assert found["classes"] == ["a", "b"] and found["n"] == 3
    assert "9 of 15 videos have no label 'label' and are not used" in lines(said)
    assert "2 of 5 test videos have no label 'label' and are not used" in lines(said)
    said = retrieve(data)
    found = result(said)
    assert (found["unlabelled"], found["gallery"]) == (9, 6)
    assert "9 of 15 videos have no label 'label' and are not used" in lines(said)
    whole = result(classify(write_list(tmp_path / "w.csv", labelled(patterns)), *KNN))
    assert (whole["unlabelled"], whole["listed"]) == (0, 20)
    assert not any("left out" in line for line in whole["notes"])


def same(patterns, folder):
    return patterns / "0.mkv"


def linked(patterns, folder):
    os.symlink(patterns / "0.mkv", folder / "link.mkv")
    return folder / "link.mkv"


def copied(patterns, folder):
    return shutil.copy(patterns / "0.mkv", folder / "copy.mkv")


def roundabout(patterns, folder):
    return patterns / ".." / patterns.name / "0.mkv"


@pytest.mark.parametrize("twin", [same, linked, copied, roundabout])
def test_a_video_of_two_classes_is_an_error(twin, patterns, tmp_path):
    rows = labelled(patterns)
    path = twin(patterns, tmp_path)
    data = write_list(tmp_path / "l.csv", [*rows, (path, "b", ""), (rows[2][0], "b", "")])
    words = ("2 training videos", f"{patterns / '0.mkv'} is 'a', and {path} is 'b'", "separated by")
    assert assert_one_line(classify(data, *KNN), *words) == 1
    assert assert_one_line(retrieve(data), *words) == 1
    judged = write_list(tmp_path / "t.csv", [rows[0], rows[1], (path, "b", "")])
    train = write_list(tmp_path / "train.csv", rows[2:])
    said = classify(train, "--test", judged, *KNN)
    assert assert_one_line(said, "1 test videos", f"{path} is 'b'") == 1
    # Other labels of the list do not matter, nor does a row without this one.
    data = write_list(tmp_path / "m.csv", [*rows, (path, "", "")])
    assert result(classify(data, *KNN))["unlabelled"] == 1


def test_a_video_twice_in_its_class_is_counted_once(patterns, tmp_path):
    rows = labelled(patterns)
    data = write_list(tmp_path / "l.csv", [*rows, rows[3], (copied(patterns, tmp_path), "a", "")])
    said = classify(data, *KNN)
    found = result(said)
    assert (found["n"], found["repeated"], found["split"]["groups"]) == (20, 2, 20)
    assert "2 rows repeat a clip with the same label and are counted once" in lines(said)


def test_the_groups_of_all_rows_of_a_video_count(patterns, tmp_path):
    rows = labelled(patterns)
    more = [(rows[number][0], rows[number][1], "film") for number in (4, 7)]
    found = result(classify(write_list(tmp_path / "l.csv", [*rows, *more]), *KNN))
    assert (found["n"], found["split"]["groups"], found["ungrouped"]) == (20, 19, 18)


def test_windows_of_a_video_have_classes_of_their_own(patterns, tmp_path):
    rows = [(path, label, "", 0, 0.8) for path, label, _ in labelled(patterns)]
    rows += [(path, "ba"["ab".index(label)], "", 0.8, 1.6) for path, label, *_ in rows]
    found = result(classify(write_list(tmp_path / "l.csv", rows, WINDOWED), *KNN))
    assert (found["n"], found["repeated"], found["split"]["groups"]) == (40, 0, 20)
    rows[20] = (*rows[20][:3], 0, 0.8)
    data = write_list(tmp_path / "m.csv", rows, WINDOWED)
    assert assert_one_line(classify(data, *KNN), "0.mkv, to 0.8 s is 'a'") == 1


def test_files_without_a_group_are_told(patterns, tmp_path):
    alone = "no video has a group: each file is a group of its own"
    rows = labelled(patterns)
    data = write_list(tmp_path / "l.csv", rows)
    for said in (classify(data, *KNN), retrieve(data)):
        assert result(said)["ungrouped"] == 20
        assert sum(line.startswith(alone) for line in lines(said)) == 1
    rows = [(path, label, number) for number, (path, label, _) in enumerate(rows)]
    said = classify(write_list(tmp_path / "g.csv", rows), *KNN)
    assert result(said)["ungrouped"] == 0 and "group:" not in said[1]
    rows[4:7] = labelled(patterns)[4:7]
    said = classify(write_list(tmp_path / "some.csv", rows), *KNN)
    assert "3 of 20 videos have no group: each of these files is a group of its own" in said[1]


def test_the_mean_over_classes_stands_beside_top_1(patterns, tmp_path):
    data = write_list(tmp_path / "l.csv", labelled(patterns, lambda number: "aaab"[number % 4]))
    said = classify(data, *KNN)
    found = result(said)
    shares = [row["top1"] for row in found["per_class"]]
    assert found["rows"][0]["class_mean"]["value"] == pytest.approx(sum(shares) / 2)
    assert any("top-1" in line and "class mean" in line for line in lines(said))


def test_every_file_is_read_once_for_what_it_shares(patterns, tmp_path, monkeypatch):
    from ivn.data.manifest.listing import list_clips
    from ivn.evaluate import splits as split
    from ivn.evaluate.dataset import labelled as labelled_videos

    read = []
    digest = split._digest
    monkeypatch.setattr(split, "_digest", lambda piece: read.append(piece) or digest(piece))
    rows = [*labelled(patterns)[:10], (copied(patterns, tmp_path), "a", "")]
    data = list_clips(write_list(tmp_path / "l.csv", rows))
    test = list_clips(write_list(tmp_path / "t.csv", labelled(patterns)[10:]))
    assert labelled_videos(data, test, label="label").account.repeated == 1
    assert len(read) == len(set(read)) >= 2
    with pytest.raises(ValueError, match="none of 0 training videos"):
        labelled_videos([], (), label="label")
