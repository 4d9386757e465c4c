"""A row of a manifest as the video and window that it is about."""

import io
import itertools
import tarfile

import pytest

from ivn.corpus.mix.mixing import Entry
from ivn.data.manifest.parquet import Row, read_manifest, read_rows, write_manifest
from ivn.media.source import Source
from ivn.media.storage import read_bytes

pytest.importorskip("pyarrow")


@pytest.mark.parametrize(
    ("row", "source"),
    [
        (Row("a.mp4", bytes=9), Source("/m/a.mp4")),
        (Row("/b/a.mp4", start=1.0, end=2.0), Source("/b/a.mp4", start=1.0, end=2.0)),
        (Row("a.mp4", start=-3.0, end=-7.0), Source("/m/a.mp4")),
        (
            Row("t.tar", "x.mp4", 512, bytes=9),
            Source("/m/t.tar", member="x.mp4", offset=512, size=9),
        ),
        # The place of the member is unknown: it is looked up by its name.
        (Row("t.tar", "x.mp4", 0, bytes=9), Source("/m/t.tar", member="x.mp4")),
        (Row("t.tar", "x.mp4", 512), Source("/m/t.tar", member="x.mp4", offset=512)),
        # An offset means nothing without a member.
        (Row("a.mp4", "", 512, bytes=9), Source("/m/a.mp4", offset=512)),
    ],
)
def test_a_row_names_one_source(row, source):
    assert row.as_source("/m") == source


def test_every_way_from_a_row_to_a_source_gives_the_same(tmp_path):
    rows = [
        Row(path, member, offset, *window, bytes=size)
        for path, member, offset, window, size in itertools.product(
            ("a.mp4", "/b/t.tar"), ("", "x.mp4"), (0, 512), ((0.0, -1.0), (-1.0, 3.0)), (0, 9)
        )
    ]
    write_manifest(tmp_path / "m.parquet", rows)
    (tmp_path / "a.mp4").touch()
    expected = [row.as_source(tmp_path) for row in rows]
    assert list(read_manifest(tmp_path / "m.parquet")) == expected
    entries = [
        Entry(0, row.path, row.member, row.offset, row.bytes, row.start, row.end, "", "", "", "")
        for row in read_rows(tmp_path / "m.parquet")
    ]
    assert [entry.clip for entry in entries] == expected
    assert {entry.video.end for entry in entries} == {-1.0}


def test_a_member_of_unknown_place_and_known_size_is_read(tmp_path):
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        info = tarfile.TarInfo("x.mp4")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"bytes"))
    row = Row("t.tar", "x.mp4", bytes=5)
    assert read_bytes(row.as_source(tmp_path)) == b"bytes"
