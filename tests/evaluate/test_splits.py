"""What belongs together is on one side of every split."""

import os
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from ivn.errors import DataError
from ivn.evaluate.dataset import labelled
from ivn.evaluate.features.cache import entry
from ivn.evaluate.features.views import View
from ivn.evaluate.splits import check_apart, folds_of, groups_of, keys_of
from ivn.keys import Purpose, make_keys
from ivn.media.source import Source
from ivn.ops.random import random_words


@pytest.fixture
def files(tmp_path):
    """Three files of one size, two of them with the same bytes."""
    for name, text in (("a", b"one"), ("b", b"two"), ("c", b"six")):
        (tmp_path / name).write_bytes(text)
    shutil.copy(tmp_path / "a", tmp_path / "copy")
    os.symlink(tmp_path / "b", tmp_path / "link")
    return tmp_path


def sources(folder, *names, **options):
    return [Source(str(folder / name), **options) for name in names]


def test_groups_are_names_files_and_contents(files):
    found = groups_of(
        [
            *sources(files, "a", "b"),
            *sources(files, "copy"),
            *sources(files, "link", start=1.0, end=2.0),
            *sources(files, "c", group="x"),
            Source("missing", group="x"),
            Source("missing too"),
        ]
    )
    assert found.tolist() == [0, 1, 0, 1, 2, 2, 3]


def test_belonging_together_is_passed_on(files):
    one, other = Source(str(files / "a"), group="x"), Source(str(files / "copy"), group="y")
    between = [Source(str(files / "b"), group="y"), Source(str(files / "link"), group="z")]
    assert groups_of([one, *between, other]).tolist() == [0] * 4


def test_empty_files_are_not_the_same_video(tmp_path):
    for name in "ab":
        (tmp_path / name).touch()
    assert groups_of(sources(tmp_path, "a", "b")).tolist() == [0, 1]


def test_members_of_tars_with_the_same_bytes_are_one_video(files):
    (files / "tar").write_bytes(b"..one.one.sixes")
    members = {"a": (2, 3), "b": (6, 3), "c": (10, 3), "longer": (10, 5), "cut": (13, 9)}
    names = [*members, "unknown", "unknown too"]
    tarred = [
        Source(str(files / "tar"), member=name, offset=offset, size=size)
        for name, (offset, size) in ((name, members.get(name, (0, 0))) for name in names)
    ]
    one, six = sources(files, "a", "c")
    assert groups_of([*tarred, one, six]).tolist() == [0, 0, 1, 2, 3, 4, 5, 0, 1]
    with pytest.raises(DataError, match=r"tar, member a and \S+tar, member b have the same bytes"):
        apart(tarred[:1], tarred[1:2])
    classes = [replace(one, label=name) for one, name in zip(tarred[:2], "xy", strict=True)]
    with pytest.raises(DataError, match=r"tar, member a is 'x', and \S+tar, member b is 'y'"):
        labelled(classes, (), label="label")


def test_members_of_one_name_are_videos_of_their_own(files):
    tarred = [
        Source(str(files / "a"), label=label, member="one.mp4", offset=offset, size=size)
        for label, offset, size in (("x", 0, 1), ("y", 1, 2), ("x", 0, 1))
    ]
    data = labelled(tarred, (), label="label")
    assert (data.classes, data.account.repeated) == (["x", "y"], 1)
    assert len({entry(source, View()) for source in tarred}) == 2


def test_a_label_that_is_blank_everywhere_is_not_offered(files):
    blank = [Source(str(files / name), labels={"label": " ", "verb": "run"}) for name in "ab"]
    with pytest.raises(DataError, match=r"none of 2 .* the label 'label': they have 'verb'$"):
        labelled(blank, (), label="label")


def apart(train, test):
    check_apart(train, test, keys_of([*train, *test]))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("copy", {}, "have the same bytes"),
        ("link", {"start": 3.0, "end": 4.0}, "are one file"),
        ("c", {"group": "x"}, "are of the group 'x'"),
    ],
)
def test_a_test_video_that_belongs_to_a_training_video_is_named(files, name, options, words):
    train = [*sources(files, "a", "b"), Source("elsewhere", group="x")]
    with pytest.raises(DataError, match=rf"1 of 2 test videos .*{name}.* {words}"):
        apart(train, [Source("other"), *sources(files, name, **options)])
    apart(train, sources(files, "c"))


def planted(groups: int, classes: int):
    """Groups of one to four videos, each of one class."""
    size = 1 + np.arange(groups) % 4
    return np.repeat(np.arange(groups), size), np.repeat(np.arange(groups) % classes, size)


def test_no_fold_parts_a_group_and_each_has_every_class():
    groups, labels = planted(60, 3)
    fold = folds_of(groups, labels, 5, seed=0)
    for group in np.unique(groups):
        assert len(set(fold[groups == group])) == 1
    for label in range(3):
        counts = np.bincount(fold[labels == label], minlength=5)
        assert counts.max() <= counts.min() + 4  # a group at most
    assert not np.array_equal(fold, folds_of(groups, labels, 5, seed=1))
    assert np.array_equal(fold, folds_of(groups, labels, 5, seed=0))


def test_a_class_of_two_groups_is_in_two_folds():
    for seed in range(30):
        groups = np.arange(12)
        labels = np.array([0] * 10 + [1] * 2)
        fold = folds_of(groups, labels, 5, seed=seed)
        assert len(set(fold[labels == 1])) == 2


def test_too_few_groups_and_classes_that_cannot_be_spread_are_refused():
    with pytest.raises(DataError, match="4 groups of videos, expected at least 5"):
        folds_of(np.arange(4), np.array([0, 0, 1, 1]), 5, seed=0)
    with pytest.raises(DataError, match="one would be in one fold alone"):
        folds_of(np.arange(6), np.array([0, 0, 0, 0, 0, 1]), 2, seed=0)
    assert folds_of(np.arange(6), np.eye(6, dtype=int)[5], 2, seed=0, every_class=False).max() == 1


def test_counts_are_held_where_there_are_any():
    groups, labels = np.arange(3000), np.arange(3000) % 1500
    tracemalloc.start()
    fold = folds_of(groups, labels, 2, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A table of groups and classes is 36 MB.
    assert peak < 20e6
    assert (np.bincount(fold * 1500 + labels, minlength=3000) == 1).all()


def test_the_folds_are_those_of_the_whole_table():
    random = np.random.default_rng(0)
    groups, labels = random.integers(0, 70, 400), random.integers(0, 9, 400)
    found = folds_of(groups * 3, labels, 4, seed=5)
    counts = np.zeros((70, 9))
    np.add.at(counts, (groups, labels), 1)
    share = counts / counts.sum(0)
    words = random_words(make_keys(5, 0, range(70)), Purpose.ORDER, 1)[:, 0].numpy()
    held, size, fold = np.zeros((4, 9)), np.zeros(4), np.zeros(70, int)
    for group in np.lexsort((words, -share.std(1))):
        after = held + np.eye(4)[:, :, None] * share[group]
        place = np.lexsort((words[:4], size, after.std(1).mean(1).round(12)))[0]
        fold[group] = place
        held[place] += share[group]
        size[place] += counts[group].sum()
    assert np.array_equal(found, fold[groups])
