"""``ivn data mix`` from manifests to a manifest, with real videos."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace

import pytest

from ivn.corpus.limits import Limits
from ivn.data.manifest.parquet import Row, read_manifest, read_rows, write_manifest
from ivn.progress import bars, output
from tests.command import command
from tests.corpus.mix.copies import encoded_anew
from tests.media.videos import BUNDLED, noise, write_mp4

CLIPS = {clip.stem: clip for clip in BUNDLED}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Two folders of videos with a manifest each; what of the second is in the first."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    first = ["asl-book", "asl-again", "classroom", "nasa", "car-detection-1"]
    for name in first:
        shutil.copyfile(CLIPS[name], folder / "a" / f"{name}.mp4")
    shutil.copyfile(CLIPS["classroom"], folder / "b" / "renamed it's.mp4")
    encoded_anew(CLIPS["asl-book"], folder / "b" / "small.mp4", scale=0.5, crf=34)
    encoded_anew(CLIPS["nasa"], folder / "b" / "cut.webm", codec="libvpx-vp9", start=0.3, end=2.0)
    shutil.copyfile(CLIPS["asl-eat"], folder / "b" / "own.mp4")
    shutil.copyfile(CLIPS["car-detection-2"], folder / "b" / "own2.mp4")
    (folder / "b" / "broken.mp4").write_bytes(CLIPS["asl-eat"].read_bytes()[:999])
    for name in "ab":
        videos = sorted(os.listdir(folder / name))
        rows = [
            Row(f"{name}/{video}", labels={"label": video}, captions=(video,), weight=2.0)
            for video in videos
        ]
        write_manifest(folder / f"{name}.parquet", rows)
    return folder


def mixed(folder, *options, inputs=("a.parquet", "b.parquet"), out="mix.parquet"):
    paths = [
        f"{text.rpartition('=')[0]}{'=' if '=' in text else ''}{folder / text.rpartition('=')[2]}"
        for text in inputs
    ]
    return command("data", "mix", *paths, "-o", str(folder / out), *options)


def test_copies_go_and_the_report_says_for_which(planted):
    code, printed, err = mixed(planted, "--weight", "b=0.5", "--workers", "1", "--max-bad", "0.1")
    assert (code, err) == (0, "")
    rows = {os.path.basename(row.path): row for row in read_rows(planted / "mix.parquet")}
    assert set(rows) == {
        *(f"{n}.mp4" for n in ("asl-book", "asl-again", "classroom", "nasa", "car-detection-1")),
        *("own.mp4", "own2.mp4"),
    }
    assert rows["nasa.mp4"].weight == 2.0 and rows["own.mp4"].weight == 1.0
    assert list(rows["own.mp4"].captions) == ["own.mp4"]
    assert rows["classroom.mp4"].hash.startswith("sha256:") and len(rows["nasa.mp4"].phash) > 100
    assert rows["own2.mp4"].source == "b"
    assert len(read_manifest(planted / "mix.parquet")) == 7
    told = json.loads((planted / "mix.mix.json").read_text())
    assert (told["rows"], told["kept"]) == (11, 7)
    assert [source["dropped"] for source in told["sources"]] == [
        {},
        {"cannot be read": 1, "copy": 1, "looks the same": 2},
    ]
    assert {(p["source"], p["for"], p["reason"], p["rows"]) for p in told["pairs"]} == {
        ("b", "a", "copy", 1),
        ("b", "a", "looks the same", 2),
    }
    with open(planted / "mix.dropped.csv", newline="") as file:
        gone = {os.path.basename(row["path"]): row for row in csv.DictReader(file)}
    assert {name: os.path.basename(row["for_path"]) for name, row in gone.items()} == {
        "renamed it's.mp4": "classroom.mp4",
        "small.mp4": "asl-book.mp4",
        "cut.webm": "nasa.mp4",
        "broken.mp4": "",
    }
    assert "broken.mp4: " in gone["broken.mp4"]["note"] and "broken.mp4: " in printed
    assert [line for line in printed.splitlines() if line.endswith((".parquet", ".json", ".csv"))]
    assert not [name for name in os.listdir(planted) if name.startswith(".")]


def test_the_first_source_named_keeps_its_rows(planted):
    code, printed, err = mixed(planted, inputs=("b.parquet", "a.parquet"), out="other.parquet")
    assert (code, err) == (1, "")
    assert "1 of 11 cannot be read, more than --max-bad 0.05" in printed
    names = {os.path.basename(row.path) for row in read_rows(planted / "other.parquet")}
    assert {"renamed it's.mp4", "small.mp4", "own.mp4"} <= names
    assert not names & {"classroom.mp4", "asl-book.mp4", "nasa.mp4"}


def test_a_second_mix_uses_what_the_first_found_out(planted, monkeypatch):
    """Columns that are there are believed; what is asked of videos then is nothing."""
    if not (planted / "mix.parquet").exists():
        mixed(planted)
    rows = [replace(row, path="/gone/" + row.path) for row in read_rows(planted / "mix.parquet")]
    (hashed,) = (row for row in rows if row.hash)
    write_manifest(planted / "known.parquet", [*rows, replace(hashed, path="/gone/again.mp4")])
    from ivn.corpus.mix import command as running

    asked = []
    monkeypatch.setattr(running, "find_out", lambda f, items, *_, **__: asked.append(items) or [])
    manifests = running.named_manifests([str(planted / "known.parquet")])
    rules = running.Recipe(tuple(map(running.Wanted, manifests)))
    entries = running.mixing.read_entries(rules, running.given_to(rules, manifests))
    with bars(output()) as shown:
        running.judge(entries, None, Limits(workers=1, seconds=9), shown)
    assert [len(items) for items in asked] == [0, 0, 0]
    assert [one.why for one in entries.all if one.why] == [running.Why.COPY]


def kinetics(folder, name, rows):
    videos = folder / name
    videos.mkdir()
    made = []
    for number, (clip, group, label, split) in enumerate(rows):
        path = videos / f"{number}.mp4"
        shutil.copyfile(CLIPS[clip], path)
        labels = {"label": label, "split": split}
        made.append(Row(str(path), labels=labels, group=group, source=name))
    write_manifest(folder / f"{name}.parquet", made)


def test_kinetics_710_has_no_video_of_any_validation_set(tmp_path):
    kinetics(
        tmp_path,
        "kinetics400",
        [
            ("asl-book", "one", "abseiling", "train"),
            ("asl-again", "two", "balloon blowing", "train"),
            ("nasa", "three", "abseiling", "val"),
            ("classroom", "four", "abseiling", "train"),
        ],
    )
    kinetics(
        tmp_path,
        "kinetics600",
        [
            ("asl-bird", "one", "abseiling", "train"),
            ("asl-eat", "three", "abseiling", "train"),
            ("asl-help", "five", "abseiling", "train"),
            ("classroom", "six", "abseiling", "test"),
        ],
    )
    kinetics(tmp_path, "kinetics700", [("nasa", "seven", "hugging (not baby)", "train")])
    inputs = [f"kinetics{n}=kinetics{n}.parquet" for n in (700, 600, 400)]
    code, _, err = mixed(tmp_path, "--recipe", "k710", "--workers", "1", inputs=inputs)
    assert (code, err) == (0, "")
    rows = list(read_rows(tmp_path / "mix.parquet"))
    assert [(row.group, row.labels["label"]) for row in rows] == [
        ("one", "abseiling"),
        ("two", "inflating balloons"),
        ("five", "abseiling"),
    ]
    told = json.loads((tmp_path / "mix.mix.json").read_text())
    assert [source["dropped"] for source in told["sources"]] == [
        {"in a validation or test set": 1, "copy of one in a validation or test set": 1},
        {
            "in a validation or test set": 1,
            "group is in a validation or test set": 1,
            "group is in an earlier source": 1,
        },
        {"copy of one in a validation or test set": 1},
    ]


def test_parts_of_one_file_stay_and_the_same_part_twice_goes(tmp_path):
    video = tmp_path / "long.mp4"
    shutil.copyfile(CLIPS["big-buck-bunny"], video)
    copy = tmp_path / "copy.mp4"
    shutil.copyfile(video, copy)
    parts = [(0.0, 1.0), (0.5, 1.5), (0.0, 1.0)]
    write_manifest(tmp_path / "a.parquet", [Row(str(video), start=s, end=e) for s, e in parts])
    others = [(0.1, 0.9), (1.6, -1.0)]
    write_manifest(tmp_path / "b.parquet", [Row(str(copy), start=s, end=e) for s, e in others])
    code, _, err = mixed(tmp_path, "--workers", "1")
    assert (code, err) == (0, "")
    kept = [(row.path, row.start, row.end) for row in read_rows(tmp_path / "mix.parquet")]
    assert kept == [
        (str(video), 0.0, 1.0),
        (str(video), 0.5, 1.5),
        (str(copy), 1.6, -1.0),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.parquet", "a.parquet"], "a second manifest a; name them, as in a2="),
        (["none.parquet"], "none.parquet: no such file"),
        (["a.mp4"], "a.mp4: expected a manifest (.parquet); make one of it: ivn data index"),
        (["https://x.org/a.parquet"], "https://x.org/a.parquet: a URL, expected a path"),
        ([], "give at least one M"),
        (
            ["a.parquet", "--recipe", "k7"],
            "k7: no such recipe; there are k-mash, k710, or FILE.toml",
        ),
        (["a.parquet", "--recipe", "k710"], "the recipe has no source a; it takes kinetics400="),
        (["a.parquet", "--weight", "b=1"], "--weight b=1: expected NAME=NUMBER above 0, with a"),
        (["a.parquet", "--weight", "a=-1"], "--weight a=-1: expected NAME=NUMBER above 0, with a"),
        (["a.parquet", "-o", "mix.txt"], "mix.txt: a manifest's name ends in .parquet"),
        (["a.parquet", "-o", "a.parquet"], "a.parquet: is there already, and is not overwritten"),
        (["a.parquet", "-o", "no/m.parquet"], "no: no such folder"),
        (["a.parquet", "-o", "taken.parquet"], "taken.mix.json: is there already"),
    ],
)
def test_a_wrong_command_is_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_mp4(tmp_path / "a.mp4", noise(2))
    write_manifest(tmp_path / "a.parquet", [Row("a.mp4")])
    (tmp_path / "taken.mix.json").touch()
    if "-o" not in arguments:
        arguments = [*arguments, "-o", "mix.parquet"]
    code, _, err = command("data", "mix", *arguments)
    assert code in (1, 2) and message in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "mix.parquet").exists()


def test_labels_that_a_recipe_does_not_have_are_named(tmp_path):
    for name in (400, 600, 700):
        kinetics(tmp_path, f"kinetics{name}", [("asl-eat", "g", "juggling planets", "train")])
    inputs = [f"kinetics{n}.parquet" for n in (400, 600, 700)]
    code, _, err = mixed(tmp_path, "--recipe", "k710", inputs=inputs)
    assert code == 1
    assert "3 rows have labels that are not among the 710 classes" in err
    assert "'juggling planets'" in err


SCRIPT = """
import sys
from ivn import cli
from ivn.corpus.mix import answers
answers._PART_ANSWERS = 1
if __name__ == "__main__":
    sys.exit(cli.main())
"""


@pytest.mark.soak  # the mechanism is killed at any time in tests/test_durable.py
def test_a_killed_mix_goes_on_and_asks_nothing_twice(tmp_path, monkeypatch):
    videos = [CLIPS[name] for name in ("asl-book", "asl-eat", "asl-bird", "nasa", "classroom")]
    for number, video in enumerate(videos):
        shutil.copyfile(video, tmp_path / f"{number}.mp4")
    write_manifest(tmp_path / "a.parquet", [Row(f"{n}.mp4") for n in range(len(videos))])
    (tmp_path / "s.py").write_text(SCRIPT)
    partial = tmp_path / "mix.parquet.partial"
    arguments = ["data", "mix", str(tmp_path / "a.parquet"), "-o", str(tmp_path / "mix.parquet")]
    process = subprocess.Popen(
        [sys.executable, "-P", str(tmp_path / "s.py"), *arguments, "--workers", "1"],
        stdout=subprocess.DEVNULL,
    )
    while len(list(partial.glob("part-*"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "mix.parquet").exists()
    known = [json.loads(part.read_bytes())[0][0] for part in partial.glob("part-*")]
    from ivn.corpus.mix import contents

    asked, really = [], contents.in_processes

    def noted(function, items, **how):
        items = list(items)
        asked.extend(f"{function.__name__} {contents._key(item)}" for item in items)
        return really(function, items, **how)

    monkeypatch.setattr(contents, "in_processes", noted)
    code, _, err = command(*arguments, "--workers", "1")
    assert (code, err) == (0, "")
    assert len(known) >= 2 and not set(known) & set(asked)
    assert len(known) + len(asked) >= len(videos)
    assert len(read_manifest(tmp_path / "mix.parquet")) == len(videos)
    assert not partial.exists()


def test_a_mix_that_is_stopped_goes_on_with_its_answers_and_over_its_own_report(
    tmp_path, monkeypatch
):
    from ivn.corpus.mix import command as running

    shutil.copyfile(CLIPS["asl-book"], tmp_path / "one.mp4")
    write_manifest(tmp_path / "a.parquet", [Row("one.mp4")])

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *names: renamed(names, stopped))
        assert mixed(tmp_path, inputs=("a.parquet",))[0] == 130
    assert sorted(os.listdir(tmp_path)) == [
        *("a.parquet", "mix.dropped.csv", "mix.mix.json", "mix.parquet.partial", "one.mp4")
    ]
    # Another time limit gives other answers.
    code, _, err = mixed(tmp_path, "--seconds", "5", inputs=("a.parquet",))
    assert code == 1 and 'begun with other settings ("seconds": 120.0)' in err
    asked = []
    really = running.find_out
    monkeypatch.setattr(
        "ivn.corpus.mix.contents.in_processes",
        lambda _, items, **__: asked.extend(items) or iter(()),
    )
    monkeypatch.setattr(running, "find_out", lambda *given: really(*given))
    assert mixed(tmp_path, inputs=("a.parquet",))[0] == 0
    assert not asked and len(read_manifest(tmp_path / "mix.parquet")) == 1
    assert not (tmp_path / "mix.parquet.partial").exists()


def renamed(names, stopped, rename=os.replace):
    """Rename, but stop at the manifest, which comes last."""
    return stopped() if str(names[1]).endswith("/mix.parquet") else rename(*names)


def test_a_video_inside_a_tar_is_a_copy_of_one_outside(tmp_path):
    inside = [CLIPS["asl-book"], CLIPS["nasa"]]
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for clip in inside:
            tar.add(clip, clip.name)
    with tarfile.open(tmp_path / "s.tar") as tar:
        members = {info.name: info for info in tar.getmembers()}
    rows = []
    for clip in inside:
        member = members[clip.name]
        rows.append(Row("s.tar", member=clip.name, offset=member.offset_data, bytes=member.size))
    write_manifest(tmp_path / "tar.parquet", rows)
    shutil.copyfile(CLIPS["asl-book"], tmp_path / "same.mp4")
    encoded_anew(CLIPS["nasa"], tmp_path / "small.mp4", scale=0.6, crf=33)
    write_manifest(tmp_path / "files.parquet", [Row("same.mp4"), Row("small.mp4")])
    code, printed, err = mixed(tmp_path, inputs=("tar.parquet", "files.parquet"))
    assert (code, err) == (0, ""), printed
    assert [row.member for row in read_rows(tmp_path / "mix.parquet")] == [
        "asl-book.mp4",
        "nasa.mp4",
    ]
    told = json.loads((tmp_path / "mix.mix.json").read_text())
    assert told["sources"][1]["dropped"] == {"copy": 1, "looks the same": 1}


def test_a_mix_of_nothing_readable_is_one_line_and_no_manifest(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    write_manifest(tmp_path / "a.parquet", [Row("a.mp4"), Row("gone.mp4")])
    code, _, err = mixed(tmp_path, inputs=("a.parquet",))
    assert code == 1 and err.count("\n") == 1 and "no row is left" in err
    assert sorted(os.listdir(tmp_path)) == [
        *("a.mp4", "a.parquet", "mix.parquet.partial"),
    ]


def test_what_cannot_be_compared_in_time_stays_and_is_told(tmp_path, monkeypatch):
    from ivn.corpus.mix import command as running

    for name in ("one.mp4", "two.mp4"):
        encoded_anew(CLIPS["asl-book"], tmp_path / name, crf=20 + len(os.listdir(tmp_path)))
    write_manifest(tmp_path / "a.parquet", [Row("one.mp4"), Row("two.mp4")])
    really = running.find_out

    def never(function, items, *how):
        if function is running.same_content:
            return [(None, "took longer than 3 s") for _ in items]
        return really(function, items, *how)

    monkeypatch.setattr(running, "find_out", never)
    code, printed, err = mixed(tmp_path, inputs=("a.parquet",))
    assert (code, err) == (0, "")
    assert "could not be compared and stay: 1 (" in printed
    told = json.loads((tmp_path / "mix.mix.json").read_text())
    names = [str(tmp_path / name) for name in ("one.mp4", "two.mp4")]
    assert (told["kept"], told["not_compared"]) == (2, [[*names, "took longer than 3 s"]])
