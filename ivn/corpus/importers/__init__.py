"""Annotation files as their data sets publish them, read into rows of a manifest.

    videos = Videos("/data/k400")
    rows = IMPORTERS["kinetics400"].read([Path("train.csv")], videos)
    write_manifest("k400.parquet", rows)
    print(videos.missing)

An importer reads the annotations as they are: what is wrong in them is an error that names the
file and the line or record. Rows whose video is not there, and segments that end before they
start, are left out and counted by :class:`ivn.corpus.importers.videos.Videos`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ivn.corpus.importers.activitynet import read_activitynet, read_hacs
from ivn.corpus.importers.ava import read_ava
from ivn.corpus.importers.charades import read_charades, read_charades_sta
from ivn.corpus.importers.coin import read_coin
from ivn.corpus.importers.didemo import read_didemo
from ivn.corpus.importers.epic import read_epic
from ivn.corpus.importers.hmdb51 import read_hmdb51
from ivn.corpus.importers.kinetics import (
    read_kinetics400,
    read_kinetics600,
    read_kinetics700,
    read_kinetics710,
)
from ivn.corpus.importers.lists import read_internvideo, read_mmaction2, read_videomae, read_vjepa
from ivn.corpus.importers.moments import read_moments
from ivn.corpus.importers.msrvtt import read_msrvtt
from ivn.corpus.importers.ssv2 import read_ssv2
from ivn.corpus.importers.ucf101 import read_ucf101
from ivn.corpus.importers.videos import Videos
from ivn.corpus.importers.youcook2 import read_youcook2
from ivn.data.manifest.parquet import Row

__all__ = ["IMPORTERS", "Importer", "Videos"]


@dataclass(frozen=True)
class Importer:
    """A format of annotations.

    Attributes:
        read: function from annotation files and the videos to rows, file by file in their order.
        help: files to give, in one line.
    """

    read: Callable[[Sequence[Path], Videos], Iterator[Row]]
    help: str


IMPORTERS: Mapping[str, Importer] = {
    "kinetics400": Importer(read_kinetics400, "train.csv, val.csv, test.csv"),
    "kinetics600": Importer(read_kinetics600, "train.csv, val.csv, test.csv"),
    "kinetics700": Importer(read_kinetics700, "train.csv, val.csv, test.csv"),
    "kinetics710": Importer(read_kinetics710, "lists of a path and a number from 0 to 709"),
    "ssv2": Importer(read_ssv2, "train.json, validation.json, test.json, and labels.json"),
    "activitynet": Importer(read_activitynet, "activity_net.v1-3.min.json"),
    "hacs": Importer(read_hacs, "HACS_clips_v1.1.1.csv or HACS_segments_v1.1.1.json"),
    "moments": Importer(read_moments, "trainingSet.csv, validationSet.csv"),
    "coin": Importer(read_coin, "COIN.json"),
    "epic-kitchens-100": Importer(
        read_epic, "EPIC_100_train.csv, EPIC_100_validation.csv, and verb_ and noun_classes.csv"
    ),
    "ucf101": Importer(read_ucf101, "trainlist01.txt, testlist01.txt, and classInd.txt"),
    "hmdb51": Importer(read_hmdb51, "the *_test_split1.txt of all actions"),
    "ava": Importer(read_ava, "ava_train_v2.2.csv, ava_val_v2.2.csv, and the action list (pbtxt)"),
    "msrvtt": Importer(read_msrvtt, "train_val_videodatainfo.json, and category.txt"),
    "didemo": Importer(read_didemo, "train_data.json, val_data.json, test_data.json"),
    "charades": Importer(read_charades, "Charades_v1_train.csv, and Charades_v1_classes.txt"),
    "charades-sta": Importer(read_charades_sta, "charades_sta_train.txt, charades_sta_test.txt"),
    "youcook2": Importer(read_youcook2, "youcookii_annotations_trainval.json"),
    "mmaction2": Importer(read_mmaction2, "lists of videos with classes or captions"),
    "videomae": Importer(read_videomae, "lists of: path 0 -1"),
    "vjepa": Importer(read_vjepa, "lists of: path label"),
    "internvideo": Importer(read_internvideo, "lists of: source path total_time start end label"),
}
