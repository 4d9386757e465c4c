"""Clips are the same wherever they lie, and in whatever form they are listed."""

import os
import shutil
from dataclasses import replace

import pytest

from ivn.data.manifest.identity import fingerprint, first_difference, recorded
from ivn.data.manifest.listing import list_clips
from ivn.data.manifest.parquet import Row, write_manifest
from ivn.media.source import Source

FILES = ("a/one.mp4", "a/two.mp4", "b/one.mp4")
LABELS = ("x", "y", "z")


@pytest.fixture
def place(tmp_path):
    """A folder with three files, and lists of them of every form."""
    place = tmp_path / "old" / "clips"
    for file in FILES:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).touch()
    write_lists(place)
    return place


def write_lists(place):
    rows = list(zip(FILES, LABELS, strict=True))
    (place / "relative.csv").write_text("".join(f"{file},{label}\n" for file, label in rows))
    (place / "absolute.csv").write_text("".join(f"{place / f},{label}\n" for f, label in rows))
    (place / "lists").mkdir(exist_ok=True)
    up = "".join(f"../{file},{label}\n" for file, label in rows)
    (place / "lists" / "up.csv").write_text(up)
    for name, folder in (("relative", ""), ("absolute", f"{place}/")):
        made = [Row(folder + file, labels={"label": label}) for file, label in rows]
        write_manifest(place / f"{name}.parquet", made)


def named(sources):
    return recorded(sources)[0]


LISTS = ["relative.csv", "absolute.csv", "lists/up.csv", "relative.parquet", "absolute.parquet"]


@pytest.mark.parametrize("form", ["", *LISTS])
def test_clips_that_were_moved_are_the_same(place, tmp_path, form):
    before = list_clips(place / form)
    found = named(before)
    moved = tmp_path / "another" / "mount" / "of them"
    moved.parent.mkdir(parents=True)
    shutil.move(place, moved)
    if "absolute" in form:
        (moved / form).unlink()
        for file in LISTS:
            (moved / file).unlink(missing_ok=True)
        write_lists(moved)
    after = list_clips(moved / form)
    assert [source.path for source in after] != [source.path for source in before]
    assert named(after) == found
    assert fingerprint(after) != fingerprint(before)


def test_every_form_of_list_gives_the_same(place):
    assert len({named(list_clips(place / form)) for form in LISTS}) == 1
    unlabelled = [replace(source, label=None, labels={}) for source in list_clips(place / LISTS[0])]
    assert named(list_clips(place)) == named(unlabelled)


def test_a_single_video_and_members_of_a_tar_may_move(tmp_path):
    one = Source("/data/v.mp4")
    assert named([one]) == named([Source("/scratch/9/v.mp4")]) != named([Source("/data/w.mp4")])
    tar = [Source("/data/s.tar", member=name) for name in ("1.mp4", "2.mp4")]
    moved = [replace(source, path="/scratch/s.tar", offset=512, size=9) for source in tar]
    assert named(tar) == named(moved) != named(tar[::-1])
    assert named(tar) != named([replace(source, path="/data/t.tar") for source in tar])


@pytest.mark.parametrize(
    ("number", "change", "words"),
    [
        (1, {"path": "/c/a/2.mp4"}, "clip 2 is a/2.mp4 now, a/two.mp4 then"),
        (2, {"label": "x"}, 'clip 3, b/one.mp4: label "x" now, "z" then'),
        (0, {"label": None}, 'clip 1, a/one.mp4: label null now, "x" then'),
        (0, {"start": 0.5}, "clip 1, a/one.mp4: start 0.5 now, 0.0 then"),
        (0, {"end": 2.0}, "clip 1, a/one.mp4: end 2.0 now, -1.0 then"),
        (1, {"flip": False}, "clip 2, a/two.mp4: flip false now, true then"),
        (1, {"member": "v.mp4"}, "clip 2 is a/two.mp4, member v.mp4 now, a/two.mp4 then"),
    ],
)
def test_what_differs_first_is_told(number, change, words):
    then = [Source(f"/c/{file}", label) for file, label in zip(FILES, LABELS, strict=True)]
    now = list(then)
    kept = {name: getattr(now[number], name) for name in ("path", "label")}
    now[number] = Source(**(kept | change))
    (one, ours), (other, theirs) = recorded(now), recorded(then)
    assert one != other
    assert first_difference(ours, theirs) == words
    assert first_difference(theirs, theirs) == ""


def test_the_order_and_the_number_of_clips_count():
    then = [Source(f"/c/{file}") for file in FILES]
    known = recorded(then)
    for now, words in (
        ([then[1], then[0], then[2]], "clip 1 is a/two.mp4 now, a/one.mp4 then"),
        ([*then, then[0]], "clip 4, a/one.mp4, is new"),
        ([then[0], then[2]], "clip 2 is b/one.mp4 now, a/two.mp4 then"),
    ):
        found = recorded(now)
        assert found[0] != known[0]
        assert first_difference(found[1], known[1]) == words
    assert (
        first_difference(known[1], recorded([*then, then[1]])[1]) == "clip 4, a/two.mp4, is missing"
    )


def test_groups_and_further_labels_may_be_added():
    one = Source("/c/v.mp4", "x")
    grown = replace(one, group="g", labels={"label": "x", "y": "z"}, targets={"d": "e"})
    assert named([grown]) == named([one])


def test_weights_are_part_of_what_clips_are(tmp_path):
    (tmp_path / "1.mp4").touch()
    found = {}
    for name, weights in (("a", (1.0, 1.0)), ("b", (1.0, 2.0)), ("c", (1.0, 2.0))):
        rows = [Row(f"{number}.mp4", weight=w) for number, w in enumerate(weights, 1)]
        write_manifest(tmp_path / f"{name}.parquet", rows)
        found[name] = recorded(list_clips(tmp_path / f"{name}.parquet"))
    assert found["a"][0] != found["b"][0] == found["c"][0]
    assert (
        first_difference(found["a"][1], found["b"][1]) == "clip 2, 2.mp4: weight 1.0 now, 2.0 then"
    )


def test_names_that_are_no_text_are_told_apart(tmp_path):
    for name in (b"\xff.mp4", b"\xfe.mp4"):
        open(os.fsencode(tmp_path) + b"/" + name, "w").close()
    assert len({named([source]) for source in list_clips(tmp_path)}) == 2


def test_a_damaged_record_is_a_value_error():
    whole = recorded([Source("/c/v.mp4")])[1]
    for damaged in (whole[:-9], b"no gzip", whole[:12] + b"\xff\xff" + whole[14:]):
        with pytest.raises(ValueError):
            first_difference(whole, damaged)
