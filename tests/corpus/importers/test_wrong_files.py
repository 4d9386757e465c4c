"""Annotations that are not what they are said to be are one line that says where."""

import pytest

from ivn.corpus.importers import IMPORTERS
from ivn.errors import DataError
from tests.corpus.importers.published import CASES, given


@pytest.mark.parametrize("name", IMPORTERS)
@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html><html><body>404</body></html>\n",
        "[1, 2, 3]",
        '{"a": 1}',
        '{"database": {"a": 3}}',
        '{"database": [',
        "[" * 100_000,
        '{"database": ' + "9" * 5000 + "}",
        "a,b,c\n1,2,3\n",
        '"unclosed\n',
        "\0\0\0\0",
        "a video that is not there\n",
    ],
)
def test_another_format_is_one_line_that_names_the_file(tmp_path, tiny, name, text):
    for file in CASES[name][0]:
        paths, videos = given(tmp_path, tiny, {file: text}, ["a.mp4"])
        with pytest.raises(DataError) as caught:
            list(IMPORTERS[name].read(paths, videos))
        message = str(caught.value)
        assert message.startswith(str(paths[0])) and "\n" not in message and len(message) < 500
        assert any(
            word in message for word in ("expected", "not JSON", "not a csv", "a web page")
        ), message


@pytest.mark.parametrize("name", IMPORTERS)
def test_no_utf8_and_no_file_are_one_line(tmp_path, tiny, name):
    file = next(iter(CASES[name][0]))
    paths, videos = given(tmp_path, tiny, {file: ""}, ["a.mp4"])
    paths[0].write_bytes(b"caf\xe9 " * 3)
    with pytest.raises(DataError, match=r"expected UTF-8 text, byte 3 is not"):
        list(IMPORTERS[name].read(paths, videos))
    paths[0].unlink()
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        list(IMPORTERS[name].read(paths, videos))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("kinetics400", ",417,", ",soon,", "train.csv, line 2: start is 'soon', expected seconds"),
        ("kinetics400", ",417,", ",-4,", "train.csv, line 2: start is '-4', expected seconds"),
        ("kinetics400", ",417,", ",nan,", "start is 'nan', expected seconds"),
        ("kinetics400", "time_end,", "until,", "no column time_end among label"),
        ("kinetics400", ",train,0", ",maybe,0", "split is 'maybe', expected train, val, test"),
        ("kinetics400", ",train,0", ",train", "line 2: 5 fields, expected 6 as in the first line"),
        ("kinetics710", " 709", " 710", "line 2: .*and a class from 0 to 709"),
        ("ssv2", '"id": "78687", ', "", 'train.json, record 1: "id" is not there'),
        (
            "ssv2",
            '"Holding something',
            '"Lifting something',
            "'Holding something next .* not among",
        ),
        ("activitynet", '"training"', '"trained"', "--0edUL8zmA: .*is 'trained', expected"),
        ("activitynet", "[5.4, 11.6]", "[5.4]", "--0edUL8zmA, segment 1: .*expected a start and"),
        ("activitynet", "[5.4, 11.6]", "5.4", "--0edUL8zmA, segment 1: no .segment., expected"),
        ("hacs", ",17.5,1", ",17.5,2", "line 2: label is '2', expected 1 or -1"),
        ("coin", '"annotation"', '"notes"', 'LtRSn-ntcLY: "annotation" is not there, expected'),
        ("epic-kitchens-100", "00:00:01.56", "1.56", "stop|start_timestamp is '1.56', expected HH"),
        ("epic-kitchens-100", ",put-down,1,", ",put-down,7,", "verb_class 7 is not among the 1"),
        ("ucf101", "c01.avi 1", "c01.avi 2", "line 1: .*but that class has the number 1"),
        ("hmdb51", "goo_0.avi 1", "goo_0.avi 3", "line 1: .*expected a video and 0, 1 or 2"),
        ("ava", ",0.670,0.995,12", ",1.670,0.995,12", "line 1: the box .*from 0 to 1"),
        ("ava", ",79,0", ",x,0", "line 2: the action is 'x', expected a whole number"),
        ("msrvtt", '"category": 9', '"category": 8', "video 1: category 8 is not among the 2"),
        ("didemo", "[4, 4]", "[4, 4.5]", "record 1: times has .4, 4.5., expected the first and"),
        ("charades", "c077 12.10 18.00", "c077 12.10", "line 2: the action 'c077 12.10', expected"),
        ("charades-sta", "##", "#", "line 1: .*expected ID start end##sentence"),
        ("youcook2", "[[0, 1]]", "[]", "v_QFb95r3q3tQ: 1 sentences and 0 timestamps"),
        ("mmaction2", "sub dir/test.mp4 0", "imgs 5 127", "folders of pictures are not read"),
        ("videomae", " 0 -1", " 0 57", "line 1: .*expected a path, 0 and -1"),
        ("vjepa", " 17", "", "line 1: .*expected the path of a video and a label"),
        ("internvideo", " 10 -1 -1 3", " 3", "line 1: .*expected source path total_time"),
    ],
)
def test_a_wrong_record_is_one_line_that_says_where(tmp_path, tiny, name, old, new, message):
    files, names, _ = CASES[name]
    changed = {file: text.replace(old, new) for file, text in files.items()}
    assert changed != files
    paths, videos = given(tmp_path, tiny, changed, names)
    with pytest.raises(DataError, match=message) as caught:
        list(IMPORTERS[name].read(paths, videos))
    assert "\n" not in str(caught.value)


def test_a_segment_that_ends_before_it_starts_is_left_out_and_named(tmp_path, tiny):
    text = "3MSZA 24.3 30.4##a.\n3MSZA 9.0 2.0##b.\n3MSZA 3.0 3.0##c.\n"
    paths, videos = given(tmp_path, tiny, {"charades_sta_train.txt": text}, ["3MSZA.mp4"])
    rows = list(IMPORTERS["charades-sta"].read(paths, videos))
    assert [row.start for row in rows] == [24.3]
    assert str(videos.unusable) == "2 (3MSZA from 9 s to 2 s, 3MSZA from 3 s to 3 s)"


def test_lists_of_two_folds_are_refused(tmp_path, tiny):
    line = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n"
    files = {"trainlist01.txt": line, "testlist02.txt": line.replace(" 1", "")}
    paths, videos = given(tmp_path, tiny, files, ["a.mp4"])
    with pytest.raises(
        DataError, match="lists of the folds 01, 02 together, expected those of one"
    ):
        list(IMPORTERS["ucf101"].read(paths, videos))


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("ssv2", "something-something-v2-labels.json"),
        ("epic-kitchens-100", "EPIC_100_verb_classes.csv"),
        ("ucf101", "classInd.txt"),
        ("ava", "ava_action_list.pbtxt"),
        ("msrvtt", "category.txt"),
        ("charades", "Charades_v1_classes.txt"),
    ],
)
def test_names_of_classes_need_lists_beside_them_and_lists_need_none(tmp_path, tiny, name, classes):
    files, names, expected = CASES[name]
    paths, videos = given(tmp_path, tiny, {classes: files[classes]}, names)
    with pytest.raises(DataError, match="names of classes alone, expected lists of videos"):
        list(IMPORTERS[name].read(paths, videos))
    lists = {file: text for file, text in files.items() if file != classes}
    paths, videos = given(tmp_path, tiny, lists, names)
    assert len(list(IMPORTERS[name].read(paths, videos))) == len(expected)
