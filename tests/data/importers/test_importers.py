"""Each format as it is published: a few lines of it, and what they become."""

import os
import shutil
from pathlib import Path

import pytest

from ivn.data.importers import IMPORTERS, Videos
from ivn.data.importers.videos import _videos_below
from ivn.data.manifest import Row, read_manifest, write_manifest
from ivn.data.source import DataError
from tests.data.videos import noise, write_mp4

# Name -> files as published, videos by their published names, and for each row: path, start, end,
# labels, captions, group.
CASES = {
    "kinetics400": (
        {
            "train.csv": "label,youtube_id,time_start,time_end,split,is_cc\n"
            'abseiling,0wR5jVB-WPk,417,427,train,0\n"air drumming",_dbcJuKJQNs,40,50,train,1\n',
            "test.csv": "youtube_id,time_start,time_end,split\n---QUuC4vJs,84,94,test\n",
        },
        [
            "train/abseiling/0wR5jVB-WPk_000417_000427.mp4",
            "_dbcJuKJQNs_000040_000050.mkv",
            "---QUuC4vJs.mp4",
        ],
        [
            (0, 0.0, -1.0, {"label": "abseiling", "split": "train"}, (), "0wR5jVB-WPk"),
            (1, 0.0, -1.0, {"label": "air drumming", "split": "train"}, (), "_dbcJuKJQNs"),
            (2, 84.0, 94.0, {"split": "test"}, (), "---QUuC4vJs"),
        ],
    ),
    "kinetics710": (
        {"train.csv": "k400/0wR5jVB-WPk_000417_000427.mp4 0\nk700/b1234567890_000001_000011 709\n"},
        ["k400/0wR5jVB-WPk_000417_000427.mp4", "k700/b1234567890_000001_000011.mp4"],
        [
            (0, 0.0, -1.0, {"label": "riding a bike", "split": "train"}, (), "0wR5jVB-WPk"),
            (1, 0.0, -1.0, {"label": "bull fighting", "split": "train"}, (), "b1234567890"),
        ],
    ),
    "ssv2": (
        {
            "something-something-v2-train.json": '[{"id": "78687", "label": "holding potato next '
            'to vicks vaporub bottle", "template": "Holding [something] next to [something]", '
            '"placeholders": ["potato", "vicks vaporub bottle"]}]',
            "something-something-v2-test.json": '[{"id": "1420"}]',
            "something-something-v2-labels.json": '{"Holding something next to something": "19"}',
        },
        ["78687.webm", "1420.webm"],
        [
            (
                0,
                0.0,
                -1.0,
                {
                    "label": "Holding something next to something",
                    "objects": "potato;vicks vaporub bottle",
                    "split": "train",
                },
                ("holding potato next to vicks vaporub bottle",),
                "",
            ),
            (1, 0.0, -1.0, {"split": "test"}, (), ""),
        ],
    ),
    "activitynet": (
        {
            "activity_net.v1-3.min.json": '{"database": {"--0edUL8zmA": {"duration": 92.18, '
            '"subset": "training", "resolution": "1920x1080", "url": "", "annotations": ['
            '{"segment": [5.4, 11.6], "label": "Dodgeball"}, '
            '{"segment": [12.6, 88.16], "label": "Dodgeball"}]}, '
            '"fJNauQt9Di0": {"subset": "testing", "annotations": []}}, "taxonomy": [], '
            '"version": "VERSION 1.3"}',
        },
        ["v_--0edUL8zmA.mp4", "test/v_fJNauQt9Di0.mkv"],
        [
            (0, 5.4, 11.6, {"label": "Dodgeball", "split": "train"}, (), "--0edUL8zmA"),
            (0, 12.6, 88.16, {"label": "Dodgeball", "split": "train"}, (), "--0edUL8zmA"),
            (1, 0.0, -1.0, {"split": "test"}, (), "fJNauQt9Di0"),
        ],
    ),
    "hacs": (
        {
            "HACS_clips_v1.1.1.csv": "classname,youtube_id,subset,start,end,label\n"
            "Archery,a2X2hz1G6i8,training,15.5,17.5,1\n"
            "Applying sunscreen,NUdji_CqvcY,validation,77.5,79.5,-1\n",
            "HACS_segments_v1.1.1.json": '{"database": {"a2X2hz1G6i8": {"annotations": ['
            '{"label": "Archery", "segment": [5.40, 11.60]}], "subset": "training", '
            '"duration": "92.166667", "url": "https://www.youtube.com/watch?v=a2X2hz1G6i8"}}}',
        },
        ["Archery/v_a2X2hz1G6i8.mp4", "Applying_sunscreen/v_NUdji_CqvcY.mp4"],
        [
            (0, 15.5, 17.5, {"label": "Archery", "split": "train"}, (), "a2X2hz1G6i8"),
            (1, 77.5, 79.5, {"absent": "Applying sunscreen", "split": "val"}, (), "NUdji_CqvcY"),
            (0, 5.4, 11.6, {"label": "Archery", "split": "train"}, (), "a2X2hz1G6i8"),
        ],
    ),
    "moments": (
        {
            "trainingSet.csv": "dancing/yt-5of6ffo6-Bw_205.mp4,dancing,3,0\n"
            "blocking/getty-karate-video-id635808620_4.mp4,blocking,4,1\n",
        },
        [
            "training/dancing/yt-5of6ffo6-Bw_205.mp4",
            "training/blocking/getty-karate-video-id635808620_4.mp4",
        ],
        [
            (0, 0.0, -1.0, {"label": "dancing", "split": "train"}, (), "5of6ffo6-Bw"),
            (
                1,
                0.0,
                -1.0,
                {"label": "blocking", "split": "train"},
                (),
                "getty-karate-video-id635808620",
            ),
        ],
    ),
    "coin": (
        {
            "COIN.json": '{"database": {"LtRSn-ntcLY": {"duration": 131.0309, '
            '"class": "ReplaceCDDriveWithSSD", "recipe_type": 131, "subset": "training", '
            '"start": 56.64, "end": 85.71, "annotation": [{"id": "212", "segment": [60.0, 69.0], '
            '"label": "take out the laptop CD drive"}]}}}',
        },
        ["131/LtRSn-ntcLY.mp4"],
        [
            (
                0,
                60.0,
                69.0,
                {
                    "label": "ReplaceCDDriveWithSSD",
                    "step": "take out the laptop CD drive",
                    "split": "train",
                },
                ("take out the laptop CD drive",),
                "LtRSn-ntcLY",
            ),
        ],
    ),
    "epic-kitchens-100": (
        {
            "EPIC_100_validation.csv": "narration_id,participant_id,video_id,narration_timestamp,"
            "start_timestamp,stop_timestamp,start_frame,stop_frame,narration,verb,verb_class,noun,"
            "noun_class,all_nouns,all_noun_classes\n"
            "P01_11_1,P01,P01_11,00:00:01.700,00:00:01.56,01:02:02.45,93,147,put down plate,"
            "put-down,1,plate,2,\"['plate']\",[2]\n",
            "EPIC_100_verb_classes.csv": "id,key,instances,category\n"
            "1,put,\"['put','lay']\",leave\n",
        },
        ["P01/videos/P01_11.MP4"],
        [
            (
                0,
                1.56,
                3722.45,
                {"verb": "put", "noun": "2", "action": "put 2", "split": "val"},
                ("put down plate",),
                "P01",
            ),
        ],
    ),
    "ucf101": (
        {
            "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n",
            "testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n",
            "classInd.txt": "1 ApplyEyeMakeup\n2 ApplyLipstick\n",
        },
        [
            "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
            "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
        ],
        [
            (
                0,
                0.0,
                -1.0,
                {"label": "ApplyEyeMakeup", "split": "train"},
                (),
                "ApplyEyeMakeup_g08",
            ),
            (1, 0.0, -1.0, {"label": "ApplyEyeMakeup", "split": "test"}, (), "ApplyEyeMakeup_g01"),
        ],
    ),
    "hmdb51": (
        {
            "brush_hair_test_split1.txt": "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \n"
            "April_09_brush_hair_u_nm_np1_ba_goo_1.avi 0 \n"
            "Blonde_1_brush_hair_f_nm_np2_ri_med_0.avi 2 \n",
            "hmdb51_val.txt": "turn/A_Beautiful_Mind_1_turn_u_cm_np1_ri_goo_9 48\n",
        },
        [
            "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi",
            "brush_hair/Blonde_1_brush_hair_f_nm_np2_ri_med_0.avi",
            "turn/A_Beautiful_Mind_1_turn_u_cm_np1_ri_goo_9.avi",
        ],
        [
            (0, 0.0, -1.0, {"label": "brush_hair", "split": "train"}, (), "april"),
            (1, 0.0, -1.0, {"label": "brush_hair", "split": "test"}, (), "blonde"),
            (2, 0.0, -1.0, {"label": "turn", "split": "val"}, (), "a_beautiful_mind"),
        ],
    ),
    "ava": (
        {
            "ava_train_v2.2.csv": "0f39OWEqJ24,0902,0.031,0.162,0.670,0.995,12,0\n"
            "0f39OWEqJ24,0902,0.031,0.162,0.670,0.995,79,0\n"
            "0f39OWEqJ24,0903,0.034,0.189,0.669,0.980,12,0\n",
            "ava_action_list.pbtxt": 'item {\n  name: "stand"\n  id: 12\n}\n'
            'item {\n  name: "talk to"\n  id: 79\n}\n',
        },
        ["0f39OWEqJ24.mkv"],
        [
            (0, 900.5, 903.5, {"label": "stand;talk to", "split": "train"}, (), "0f39OWEqJ24"),
            (0, 901.5, 904.5, {"label": "stand", "split": "train"}, (), "0f39OWEqJ24"),
        ],
    ),
    "msrvtt": (
        {
            "train_val_videodatainfo.json": '{"info": {}, "videos": [{"category": 9, "url": '
            '"https://www.youtube.com/watch?v=9lZi22qLlEo", "video_id": "video0", '
            '"start time": 137.72, "end time": 149.44, "split": "validate", "id": 0}], '
            '"sentences": [{"caption": "a car is shown", "video_id": "video0", "sen_id": 7}, '
            '{"caption": "a red car", "video_id": "video0", "sen_id": 8}]}',
            "category.txt": "music\t0\nvehicles/autos\t9\n",
        },
        ["TrainValVideo/video0.mp4"],
        [
            (
                0,
                0.0,
                -1.0,
                {"split": "val", "category": "vehicles/autos"},
                ("a car is shown", "a red car"),
                "9lZi22qLlEo",
            )
        ],
    ),
    "didemo": (
        {
            "val_data.json": '[{"annotation_id": 1, "description": "camera zooms in on group of '
            'women.", "video": "54322086@N00_2408598493_274c77d26a.avi", "num_segments": 6, '
            '"times": [[4, 4], [4, 5], [4, 5], [3, 3]]}]',
        },
        ["54322086@N00_2408598493_274c77d26a.avi.mp4"],
        [
            (
                0,
                20.0,
                30.0,
                {"split": "val"},
                ("camera zooms in on group of women.",),
                "54322086@N00_2408598493_274c77d26a.avi",
            )
        ],
    ),
    "charades": (
        {
            "Charades_v1_train.csv": "id,subject,scene,quality,relevance,verified,script,objects,"
            "descriptions,actions,length\n"
            'YSKX3,CP6Y,Bedroom,5,6,Yes,"A person fixes the bed, then leaves.",bed;blanket,'
            "A person looks.;A person is here.,c077 12.10 18.00;c079 11.80 17.30,16.62\n",
            "Charades_v1_classes.txt": "c077 Putting a pillow somewhere\nc079 Taking a pillow\n",
        },
        ["YSKX3.mp4"],
        [
            (
                0,
                0.0,
                -1.0,
                {
                    "label": "Putting a pillow somewhere;Taking a pillow",
                    "scene": "Bedroom",
                    "split": "train",
                },
                ("A person fixes the bed, then leaves.", "A person looks.", "A person is here."),
                "CP6Y",
            )
        ],
    ),
    "charades-sta": (
        {"charades_sta_test.txt": "3MSZA 24.3 30.4##person turn a light on.\n"},
        ["3MSZA.mp4"],
        [(0, 24.3, 30.4, {"split": "test"}, ("person turn a light on.",), "3MSZA")],
    ),
    "youcook2": (
        {
            "youcookii_annotations_trainval.json": '{"database": {"9GX8f5EwwE4": {"annotations": ['
            '{"id": 0, "segment": [25, 37], "sentence": "cut the onion in half and dice"}], '
            '"duration": 241.64, "recipe_type": "212", "subset": "validation", "video_url": ""}}}',
            "youcook2_test.json": '{"v_QFb95r3q3tQ": {"sentences": ["None"], '
            '"timestamps": [[0, 1]], "duration": 414.34}}',
        },
        ["validation/212/9GX8f5EwwE4.webm", "testing/101/QFb95r3q3tQ.mkv"],
        [
            (
                0,
                25.0,
                37.0,
                {"recipe": "212", "split": "val"},
                ("cut the onion in half and dice",),
                "9GX8f5EwwE4",
            ),
            (1, 0.0, -1.0, {"split": "test"}, (), "QFb95r3q3tQ"),
        ],
    ),
    "mmaction2": (
        {
            "video_list.txt": "sub dir/test.mp4 0\ntest.mp4 3 5\n",
            "texts.json": '{"test.mp4": ["A person cleans", "A machine"]}',
            "hvu.json": '[{"filename": "test.mp4", '
            '"label": {"concept": [250, 131], "scene": [6]}}]',
        },
        ["sub dir/test.mp4", "test.mp4"],
        [
            (0, 0.0, -1.0, {"label": "0"}, (), ""),
            (1, 0.0, -1.0, {"label": "3;5"}, (), ""),
            (1, 0.0, -1.0, {}, ("A person cleans", "A machine"), ""),
            (1, 0.0, -1.0, {"concept": "250;131", "scene": "6"}, (), ""),
        ],
    ),
    "videomae": (
        {"all.txt": "sub dir/a b.mp4 0 -1\n"},
        ["sub dir/a b.mp4"],
        [(0, 0.0, -1.0, {}, (), "")],
    ),
    "vjepa": (
        {"all.csv": "sub dir/a b.mp4 17\n"},
        ["sub dir/a b.mp4"],
        [(0, 0.0, -1.0, {"label": "17"}, (), "")],
    ),
    "internvideo": (
        {"all.txt": "k400 a.mp4 10 -1 -1 3\nhacs b c.mp4 60.5 2.5 12.5 -1\n"},
        ["a.mp4", "b c.mp4"],
        [(0, 0.0, -1.0, {"label": "3"}, (), ""), (1, 2.5, 12.5, {}, (), "")],
    ),
}
CASES["kinetics600"] = CASES["kinetics700"] = CASES["kinetics400"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_mp4(tmp_path_factory.mktemp("tiny") / "a.mp4", noise(2, 16, 16))


def given(folder, tiny, files, names):
    """The annotation files, and videos of those names in ``folder/videos``."""
    paths = []
    for name, text in files.items():
        paths.append(folder / name)
        paths[-1].write_text(text, encoding="utf-8")
    for name in names:
        place = folder / "videos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tiny, place)
    return paths, Videos(folder / "videos")


@pytest.mark.parametrize("name", IMPORTERS)
def test_a_published_file_becomes_rows(tmp_path, tiny, name):
    files, names, expected = CASES[name]
    paths, videos = given(tmp_path, tiny, files, names)
    rows = list(IMPORTERS[name].read(paths, videos))
    found = [(r.path, r.start, r.end, dict(r.labels), tuple(r.captions), r.group) for r in rows]
    places = [str(tmp_path / "videos" / one) for one in names]
    assert found == [(places[one[0]], *one[1:]) for one in expected]
    assert videos.missing.count == videos.unusable.count == 0
    if name not in ("mmaction2", "videomae", "vjepa", "internvideo"):
        assert {row.source for row in rows} == {name.removesuffix("-sta")}
    assert all(row.flip == (row.source != "ssv2") for row in rows)
    write_manifest(tmp_path / "m.parquet", rows)
    read = read_manifest(tmp_path / "m.parquet")
    assert [(s.path, dict(s.labels)) for s in read] == [(r.path, dict(r.labels)) for r in rows]


@pytest.mark.parametrize("name", IMPORTERS)
def test_what_is_not_there_is_counted_and_named(tmp_path, tiny, name):
    files, _, expected = CASES[name]
    paths, videos = given(tmp_path, tiny, files, ["other/else.mp4"])
    assert list(IMPORTERS[name].read(paths, videos)) == []
    assert videos.missing.count == len(expected)
    assert str(videos.missing).startswith(f"{len(expected)} (")
    assert 1 <= len(videos.missing.first) <= len(expected)


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
        assert any(word in message for word in ("expected", "not JSON", "not a csv")), message


@pytest.mark.parametrize("name", IMPORTERS)
def test_no_utf8_and_no_file_are_one_line(tmp_path, tiny, name):
    file = next(iter(CASES[name][0]))
    paths, videos = given(tmp_path, tiny, {file: ""}, ["a.mp4"])
    paths[0].write_bytes(b"caf\xe9 " * 3)
    with pytest.raises(DataError, match=r"expected UTF-8 text, byte 3 is none"):
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


def test_a_name_is_found_in_its_own_folder_and_in_no_other(tmp_path, tiny):
    names = ["jumping/0001.mp4", "a/running fast/0001.MKV", "0002.mp4", "b/x.avi.mp4", "c/.x.mp4"]
    _, videos = given(tmp_path, tiny, {}, names)
    base = str(tmp_path / "videos") + os.sep
    assert videos.find("running_fast/0001.mp4") == base + "a/running fast/0001.MKV"
    assert videos.find("walking/0001") == ""
    assert videos.find("jumping/0002") == base + "0002.mp4"
    assert videos.find("0001") == base + "a/running fast/0001.MKV"
    assert videos.find("x.avi") == base + "b/x.avi.mp4"
    assert (videos.missing.count, videos.missing.first) == (1, ["walking/0001"])


def test_folders_of_videos_are_looked_at_once_also_where_links_go_in_circles(tmp_path, tiny):
    with pytest.raises(DataError, match="none: no such folder of videos"):
        Videos(tmp_path / "none")
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match="no videos in this folder"):
        Videos(tmp_path / "videos").find("a")
    _, videos = given(tmp_path, tiny, {}, ["deep/a\nb.mp4", os.fsdecode(b"caf\xe9.mp4")])
    (tmp_path / "videos" / "deep" / "up").symlink_to(tmp_path / "videos")
    assert len(list(_videos_below(str(tmp_path / "videos")))) == 2
    assert Path(videos.find("a\nb")).is_file() and Path(videos.find("deep/a\nb")).is_file()
    assert Path(videos.find(os.fsdecode(b"caf\xe9"))).is_file()


def test_rows_keep_what_only_a_set_has(tmp_path, tiny):
    paths, videos = given(tmp_path, tiny, *CASES["ava"][:2])
    first: Row = next(IMPORTERS["ava"].read(paths, videos))
    assert first.extra["boxes"].startswith("[[0.031, 0.162, 0.67, 0.995, 12, 0], [")
    paths, videos = given(tmp_path, tiny, *CASES["charades"][:2])
    (row,) = IMPORTERS["charades"].read(paths, videos)
    assert row.extra == {"actions": "c077 12.10 18.00;c079 11.80 17.30"}
