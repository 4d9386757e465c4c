"""The files of the folder that IVN_TEST_ANNOTATIONS names: heads of the sets' own annotations."""

import os
from collections import Counter
from pathlib import Path

import pytest

from ivn.corpus.importers import IMPORTERS, Videos
from ivn.errors import DataError
from tests.media.videos import noise, write_mp4

FOLDER = os.environ.get("IVN_TEST_ANNOTATIONS", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="IVN_TEST_ANNOTATIONS is not set")

# Format, files, rows, distinct videos, labels of one name and their number, groups.
SAMPLES = [
    ("kinetics400", ["kinetics-400_val.head.csv"], 39, 39, "label", {"abseiling": 39}, 39),
    ("kinetics600", ["kinetics-600_val.head.csv"], 39, 39, "split", {"val": 39}, 39),
    ("kinetics400", ["tiny-kinetics_val.csv"], 39, 39, "split", {"val": 39}, 39),
    ("activitynet", ["mma_gt.json"], 4, 2, "split", {"val": 4}, 2),
    (
        "epic-kitchens-100",
        ["EPIC_100_validation.head.csv", "EPIC_100_verb_classes.csv"],
        39,
        1,
        "split",
        {"val": 39},
        1,
    ),
    ("ucf101", ["ucf101_trainlist01.head.txt", "ucf101_classInd.txt"], 40, 40, "label", {}, 8),
    ("hmdb51", ["hmdb51_val.head.txt"], 40, 40, "split", {"val": 40}, 37),
    ("ava", ["mma_ava_sample.csv", "mma_action_list.txt"], 3, 2, "split", {}, 2),
    ("ava", ["mma_ava_sample.csv"], 3, 2, "split", {}, 2),
    ("charades", ["Charades_v1_test.head.csv"], 29, 29, "split", {"test": 29}, 0),
    ("charades-sta", ["charades_sta_test.head.txt"], 40, 0, "split", {"test": 40}, 0),
    ("youcook2", ["youcook2_test.json"], 210, 210, "split", {"test": 210}, 210),
    ("mmaction2", ["mma_video_test_list.txt"], 2, 1, "label", {"0": 2}, 1),
    ("mmaction2", ["mma_video_text_test_list.json"], 1, 1, "label", {}, 1),
    ("mmaction2", ["mma_hvu_video_test_anno.json"], 2, 1, "action", {"180": 2}, 1),
]


class Wishes(Videos):
    """Gives no video, and keeps what was looked for."""

    def find(self, *names):
        self.wanted.append(names[0])
        return super().find(*names)

    at = find


@pytest.fixture
def made(tmp_path):
    """Made-up videos for all that files name, by the first name that is looked for."""
    tiny = write_mp4(tmp_path / "a.mp4", noise(2, 16, 16))
    folder = tmp_path / "videos"

    def make(name, files):
        folder.mkdir(exist_ok=True)
        (folder / "else.mp4").hardlink_to(tiny)
        wishes = Wishes(folder)
        wishes.wanted = []
        list(IMPORTERS[name].read(files, wishes))
        for wanted in set(wishes.wanted):
            place = folder / (wanted if wanted.endswith((".mp4", ".avi")) else f"{wanted}.mp4")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(tiny)
        return Videos(folder)

    return make


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample[0]}-{sample[1][0]}")
def test_a_real_sample_is_read_to_its_last_row(made, sample):
    name, files, count, distinct, label, counts, groups = sample
    paths = [Path(FOLDER) / file for file in files]
    videos = made(name, paths)
    rows = list(IMPORTERS[name].read(paths, videos))
    assert len(rows) == count
    assert videos.missing.count == videos.unusable.count == 0
    assert len({row.path for row in rows}) == distinct or not distinct
    assert len({row.group for row in rows}) == groups or not groups
    values = Counter(row.labels.get(label) for row in rows)
    assert counts.items() <= values.items()
    assert all(row.end == -1 or row.end > row.start >= 0 for row in rows)


@pytest.mark.parametrize(
    "file", ["mma_rawframe_test_list.txt", "mma_rawvideo_test_anno.json", "mma_gt.json"]
)
def test_lists_of_pictures_and_parts_are_refused(made, file):
    with pytest.raises(DataError, match=r"not read|expected"):
        made("mmaction2", [Path(FOLDER) / file])


@pytest.mark.parametrize("name", IMPORTERS)
def test_no_format_takes_another_sets_sample(tmp_path, name):
    """But where two have the same form."""
    alike = {
        "kinetics400": "kinetics",
        "kinetics600": "kinetics",
        "kinetics700": "kinetics",
        "hacs": "mma_gt",
        "internvideo": "",
        "vjepa": "ucf101_train mma_video_test",
        "mmaction2": "ucf101_train mma_video_test",
    }.get(name, "")
    (tmp_path / "a.mp4").touch()
    own = {file for sample in SAMPLES if sample[0] == name for file in sample[1]}
    own |= {"mma_action_list.txt"} if name == "ava" else set()
    for file in sorted(Path(FOLDER).iterdir()):
        if file.name in own or any(word in file.name for word in alike.split()):
            continue
        with pytest.raises(DataError) as caught:
            list(IMPORTERS[name].read([file], Videos(tmp_path)))
        assert str(file) in str(caught.value)
