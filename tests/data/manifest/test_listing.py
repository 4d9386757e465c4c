import os

import pytest

from ivn.corpus.importers import Videos
from ivn.corpus.index.found import found_at
from ivn.data.manifest.identity import fingerprint
from ivn.data.manifest.listing import list_clips
from ivn.errors import DataError
from ivn.media.source import BUNDLED_CLIPS, Source
from tests.media.videos import CASES


@pytest.fixture
def folder(tmp_path):
    for name in ["b.mp4", "a b.MKV", "deep/er/c.webm", "deep/d.Avi", "notes.txt", ".hidden.mp4"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def listed(folder, text, name="list.csv"):
    (folder / name).write_text(text)
    return list_clips(folder / name)


def test_a_folder_gives_all_videos_below_it_in_one_order(folder):
    paths = [os.path.relpath(source.path, folder) for source in list_clips(folder)]
    assert paths == ["a b.MKV", "b.mp4", "deep/d.Avi", "deep/er/c.webm"]


def test_the_order_is_that_of_the_names_and_not_of_the_disk(tmp_path):
    names = [f"{index:02}.mp4" for index in (7, 3, 11, 0, 9, 4, 12, 1, 8, 5, 10, 2, 6)]
    for name in names:
        (tmp_path / name).touch()
    assert [os.path.basename(source.path) for source in list_clips(tmp_path)] == sorted(names)


def test_hidden_folders_are_left_out_with_all_below_them(folder):
    for name in (".Trash-1000/files/old.mp4", "deep/.cache/e.mp4", "deep/er/.git/f/g.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / ".linked.d").symlink_to(folder / "deep")
    assert len(list_clips(folder)) == 4
    # Asked for by its name it is no different from others.
    (old,) = list_clips(folder / ".Trash-1000")
    assert old.path == str(folder / ".Trash-1000/files/old.mp4")


def test_the_folder_with_a_trash_has_one_video():
    (source,) = list_clips(CASES / "hidden-folder")
    assert source.path == str(CASES / "hidden-folder" / "a.mp4")
    assert Videos(CASES / "hidden-folder").find("a") == source.path
    assert Videos(CASES / "hidden-folder").find("old") == ""
    (row,) = found_at(str(CASES / "hidden-folder"), CASES / "m.parquet")
    assert row.path == "hidden-folder/a.mp4"


def test_linked_folders_are_entered_once(folder):
    (folder / "deep" / "up").symlink_to(folder)
    assert len(list_clips(folder)) == 4


def test_the_bundled_clips_are_27_sources():
    assert len(list_clips(str(BUNDLED_CLIPS))) == 27


def test_a_single_video_is_a_source(folder):
    assert list_clips(folder / "b.mp4") == [Source(str(folder / "b.mp4"))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("b.mp4", Source("b.mp4")),
        ("b.mp4 3", Source("b.mp4", "3")),
        ("b.mp4 0 -1", Source("b.mp4")),
        ("a b.MKV", Source("a b.MKV")),
        ("a b.MKV 12", Source("a b.MKV", "12")),
        ("a b.MKV 0 -1", Source("a b.MKV")),
        ("b.mp4,riding a bike", Source("b.mp4", "riding a bike")),
        ("a b.MKV,3", Source("a b.MKV", "3")),
        ('"b.mp4","jump, high"', Source("b.mp4", "jump, high")),
        ("b.mp4,3,1.5,4", Source("b.mp4", "3", 1.5, 4.0)),
        ("b.mp4\t3", Source("b.mp4", "3")),
        ("k400 b.mp4 10.0 -1 -1 7", Source("b.mp4", "7")),
        ("anet b.mp4 90.5 12.25 20 7", Source("b.mp4", "7", 12.25, 20.0)),
        ("ssv2 a b.MKV 4 -1 -1 7", Source("a b.MKV", "7", flip=False)),
        ("path,label\nb.mp4,3", Source("b.mp4", "3")),
        ("label,time_end,video,time_start\n3,9,b.mp4,2", Source("b.mp4", "3", 2.0, 9.0)),
        ("path label\nb.mp4 3", Source("b.mp4", "3")),
        ("\ufeffb.mp4 3\r\n\r\n# a comment\r\n", Source("b.mp4", "3")),
    ],
)
def test_a_line_of_a_list(folder, line, expected):
    (source,) = listed(folder, line)
    assert os.path.relpath(source.path, folder) == expected.path
    assert (source.label, source.start, source.end, source.flip) == (
        expected.label,
        expected.start,
        expected.end,
        expected.flip,
    )


def test_absolute_paths_stay_and_the_order_is_the_lists(folder):
    sources = listed(folder, f"deep/d.Avi 1\n{folder}/b.mp4 0\n", "list.txt")
    assert [source.path for source in sources] == [f"{folder}/deep/d.Avi", f"{folder}/b.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no usable line"),
        ("# nothing\n\n", "no usable line"),
        ("b.mp4 1\n\nb.mp4 1 2 3\n", "line 3: 4 fields, expected 'path'"),
        ("b.mp4,1\nb.mp4,1,2\n", "line 2: 3 fields"),
        ("b.mp4,1,5,2", "line 1: starts at 5.0 s and ends at 2.0 s"),
        ("path,label,start\nb.mp4,1,soon", "line 2: start 'soon', end None: expected seconds"),
        ("path,label\n,1", "line 2: no path"),
        ("gone/x.mp4 1\ngone/y.mp4 2\n", "none of 2 paths tried exists, .*gone/x.mp4"),
        ("label,youtube_id,time_start,time_end,split,is_cc\nabseiling,0wR5,4,14,val,0", "6 fields"),
    ],
)
def test_a_wrong_list_is_one_line_that_says_where(folder, text, message):
    with pytest.raises(DataError, match=message) as caught:
        listed(folder, text)
    assert str(folder / "list.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "no such file or folder"),
        ("empty", "no videos in this folder"),
        ("notes.doc", "expected a folder, a video"),
        ("latin.txt", "expected UTF-8 text, byte 3 is not"),
    ],
)
def test_a_place_without_videos_is_one_line(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.doc").touch()
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9.mp4 1\n")
    with pytest.raises(DataError, match=message):
        list_clips(tmp_path / name)


def test_the_fingerprint_is_that_of_the_list_and_its_order(folder):
    sources = list_clips(folder)
    assert fingerprint(sources) == fingerprint(list_clips(folder))
    others = [sources[::-1], sources[1:], [*sources[:3], Source(sources[3].path, end=2.0)]]
    assert len({fingerprint(other) for other in [sources, *others]}) == 4


def test_group_and_further_columns_of_a_list_are_kept(folder):
    text = "Video,Action,label,group,map,class\nb.mp4,turn left,3,film,,c\n"
    (source,) = listed(folder, text)
    assert (source.path, source.group, source.label) == (str(folder / "b.mp4"), "film", "3")
    # An empty cell is no label.
    assert source.labels == {"Action": "turn left", "label": "3", "class": "c"}
    assert Source("a", "3") == Source("a", labels={"label": "3"})
    with pytest.raises(ValueError, match=r"label '3', but labels\[label\] is '4'"):
        Source("a", "3", labels={"label": "4"})


@pytest.mark.parametrize(
    ("header", "label", "others"),
    [
        ("path,label,label_id", "0", {"label_id": "1"}),
        ("path,target,Label", "1", {"target": "0"}),
        ("path,class,label_id", "1", {"class": "0"}),
        ("path,label,file", "0", {"file": "1"}),
        ("path,Filename,class", "1", {"Filename": "0"}),
    ],
)
def test_a_column_of_our_own_spelling_goes_first(folder, header, label, others):
    (source,) = listed(folder, f"{header}\nb.mp4,0,1\n")
    assert (source.path, source.label) == (str(folder / "b.mp4"), label)
    assert source.labels == {"label": label, **others}
