"""Each format as it is published: a few lines of it, its videos' names, and the rows."""

import shutil

from ivn.corpus.importers import Videos

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


def written(folder, files):
    """The paths of the annotation files, written into the folder."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def given(folder, tiny, files, names):
    """The annotation files, and videos of those names in ``folder/videos``."""
    paths = written(folder, files)
    for name in names:
        place = folder / "videos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tiny, place)
    return paths, Videos(folder / "videos")
