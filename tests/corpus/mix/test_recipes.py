"""From published annotations and folders of videos to K-Mash, by the commands."""

import json
import os
import shutil

from ivn.data.manifest.parquet import read_rows
from tests.command import command
from tests.corpus.mix.copies import encoded_anew
from tests.media.videos import BUNDLED

CLIPS = {clip.stem: clip for clip in BUNDLED}
ACTIVITYNET = {
    "database": {
        "aaaaaaaaaaa": {
            "subset": "training",
            "annotations": [
                {"segment": [0.0, 1.0], "label": "Archery"},
                {"segment": [1.0, 2.0], "label": "Archery"},
            ],
        },
        "bbbbbbbbbbb": {"subset": "validation", "annotations": []},
        "eeeeeeeeeee": {"subset": "training", "annotations": []},
    },
    "taxonomy": [],
    "version": "VERSION 1.3",
}
SSV2 = [
    {
        "id": "1",
        "label": "holding a pen",
        "template": "Holding [something]",
        "placeholders": ["a pen"],
    }
]
HACS = "classname,youtube_id,subset,start,end,label\n"
KINETICS = "label,youtube_id,time_start,time_end,split\n"

# Source -> annotation files, and videos with the clips that they are.
SETS = {
    "kinetics400": (
        {"train.csv": KINETICS + "archery,ccccccccccc,0,10,train\n"},
        {"archery/ccccccccccc_000000_000010.mp4": "nasa"},
    ),
    "kinetics600": (
        {"train.csv": KINETICS + "archery,ccccccccccc,5,15,train\narchery,lost,0,10,train\n"},
        {"ccccccccccc_000005_000015.mp4": "classroom"},
    ),
    "kinetics700": (
        {"val.csv": KINETICS + "archery,ddddddddddd,0,10,val\n"},
        {"ddddddddddd_000000_000010.mp4": "asl-book"},
    ),
    "ssv2": (
        {"train.json": json.dumps(SSV2), "labels.json": '{"Holding something": "16"}'},
        {"1.webm": "asl-eat"},
    ),
    "activitynet": (
        {"activity_net.v1-3.min.json": json.dumps(ACTIVITYNET)},
        {
            "v_aaaaaaaaaaa.mp4": "big-buck-bunny",
            "v_bbbbbbbbbbb.mp4": "car-detection-1",
            "v_eeeeeeeeeee.mkv": "people-detection",
        },
    ),
    "hacs": (
        {
            "HACS_clips_v1.1.1.csv": HACS
            + "Archery,bbbbbbbbbbb,training,0,1,1\nArchery,fffffffffff,training,0,1,-1\n"
        },
        {"Archery/v_bbbbbbbbbbb.mp4": "car-detection-2", "Archery/v_fffffffffff.mp4": "asl-bird"},
    ),
    "moments": (
        {"trainingSet.csv": "d/yt-ggggggggggg_1.mp4,d,3,0\nd/getty-x_2.mp4,d,3,0\n"},
        {"training/d/yt-ggggggggggg_1.mp4": "asl-again", "training/d/getty-x_2.mp4": "asl-book"},
    ),
}


def test_k_mash_from_annotations_to_one_manifest(tmp_path):
    for name, (files, videos) in SETS.items():
        folder = tmp_path / name
        for place, clip in videos.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            if name == "moments":
                encoded_anew(CLIPS[clip], folder / place, scale=0.6, crf=32)
            else:
                shutil.copyfile(CLIPS[clip], folder / place)
        for file, text in files.items():
            (folder / file).write_text(text)
        form = "auto" if name in ("ssv2", "activitynet", "moments") else name
        code, printed, err = command(
            *("data", "index", *(folder / file for file in files), "--format", form),
            *("--videos", folder, "-o", tmp_path / f"{name}.parquet", "--no-probe"),
        )
        assert (code, err) == (0, ""), printed + err
        told = f"rows without a video in {folder}: 1 (lost_000000_000010)"
        assert (told in printed) == (name == "kinetics600")
    inputs = [f"{name}={tmp_path / name}.parquet" for name in reversed(SETS)]
    code, printed, err = command(
        *("data", "mix", "--recipe", "k-mash", *inputs, "--weight", "ssv2=2"),
        *("-o", tmp_path / "k-mash.parquet", "--workers", "1"),
    )
    assert (code, err) == (0, ""), printed + err
    rows = list(read_rows(tmp_path / "k-mash.parquet"))
    assert [(row.source, os.path.basename(row.path), row.start, row.weight) for row in rows] == [
        ("kinetics400", "ccccccccccc_000000_000010.mp4", 0.0, 1.0),
        ("ssv2", "1.webm", 0.0, 2.0),
        ("activitynet", "v_aaaaaaaaaaa.mp4", 0.0, 1.0),
        ("activitynet", "v_aaaaaaaaaaa.mp4", 1.0, 1.0),
        ("activitynet", "v_eeeeeeeeeee.mkv", 0.0, 1.0),
        ("hacs", "v_fffffffffff.mp4", 0.0, 1.0),
        ("moments", "yt-ggggggggggg_1.mp4", 0.0, 1.0),
    ]
    assert [row.flip for row in rows] == [True, False, *[True] * 5]
    told = json.loads((tmp_path / "k-mash.mix.json").read_text())
    dropped = {source["name"]: source["dropped"] for source in told["sources"]}
    assert dropped == {
        "kinetics400": {},
        "kinetics600": {"group is in an earlier source": 1},
        "kinetics700": {"in a validation or test set": 1},
        "ssv2": {},
        "activitynet": {"in a validation or test set": 1},
        "hacs": {"group is in a validation or test set": 1},
        "moments": {"looks like one in a validation or test set": 1},
    }
