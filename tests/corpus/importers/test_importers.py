"""Published annotations become rows, of the videos that are there."""

import os
from pathlib import Path

import pytest

from ivn.corpus.importers import IMPORTERS, Videos
from ivn.corpus.importers.videos import _videos_below
from ivn.data.manifest.parquet import Row, read_manifest, write_manifest
from ivn.errors import DataError
from tests.corpus.importers import formats_table
from tests.corpus.importers.published import CASES, given


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


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_table_that_a_spreadsheet_saved_again_gives_the_same_rows(tmp_path, tiny, mark):
    for name, file in (("kinetics400", "train.csv"), ("hacs", "HACS_clips_v1.1.1.csv")):
        files, names, _ = CASES[name]
        paths, videos = given(tmp_path, tiny, {file: files[file]}, names)
        rows = list(IMPORTERS[name].read(paths, videos))
        paths[0].write_text("\ufeff" + files[file].replace(",", mark), newline="\r\n")
        assert list(IMPORTERS[name].read(paths, videos)) == rows != []


def test_a_record_of_a_table_is_named_by_its_first_line(tmp_path, tiny):
    text = 'id,subject,script,descriptions,actions\nA,1,"one\ntwo",,\nB,1,"x\ny",,c077\n'
    paths, videos = given(tmp_path, tiny, {"Charades_v1_train.csv": text}, ["A.mp4", "B.mp4"])
    with pytest.raises(DataError, match=r"train.csv, line 4: the action 'c077'"):
        list(IMPORTERS["charades"].read(paths, videos))


def test_a_path_of_kinetics_710_keeps_its_commas(tmp_path, tiny):
    clip = "one, two/0wR5jVB-WPk_000417_000427.mp4"
    for line in (f"{clip} 0", f"{clip},0", f"{clip}, 0"):
        paths, videos = given(tmp_path, tiny, {"train.csv": f"{line}\n"}, [clip])
        (row,) = IMPORTERS["kinetics710"].read(paths, videos)
        assert row.path.endswith(clip)


def test_the_documents_have_the_table_of_the_importers():
    assert set(CASES) == set(IMPORTERS), "each importer has a published file in published.py"
    page = formats_table.PAGE.read_text(encoding="utf-8")
    assert formats_table.in_page(page)[0] == formats_table.table(), (
        "run python -m tests.corpus.importers.formats_table"
    )
