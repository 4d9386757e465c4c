import tarfile

import pytest

from ivn.data.manifest.parquet import read_rows
from ivn.errors import DataError, DecodeError
from ivn.media.decode import decode
from ivn.media.source import Source
from ivn.media.stand_in import stand_in


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf\r\n<!doctype HTML>", "web page"),
        (b"<HTML lang=de>", "web page"),
        (b"<?xml version='1.0'?>\n<Error><Code>NoSuchKey</Code>", "web page"),
        (b"<?xml version='1.0'?><!DOCTYPE html PUBLIC '-//W3C'><html>", "web page"),
    ],
)
def test_pointers_and_pages_are_told(head, word):
    assert word in stand_in(head)


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"version 3", b"path,label\na.mp4,1\n", b"\x00\x00\x00 ftypisom", b"PK\x03\x04"),
        *(b"<?xml version='1.0'?><MPD>", b"# see https://git-lfs.github.com", b"<svg>"),
    ],
)
def test_other_files_are_not(head):
    assert stand_in(head) == ""


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>" * 9


@pytest.mark.parametrize(("content", "word"), [(POINTER, "Git LFS pointer"), (PAGE, "web page")])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.jpg"])
def test_a_video_that_is_a_pointer_or_a_page_is_called_so(tmp_path, content, word, name):
    pytest.importorskip("av")
    (tmp_path / name).write_bytes(content)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / name, name)
    for source in (tmp_path / name, Source(str(tmp_path / "a.tar"), member=name)):
        with pytest.raises(DecodeError, match=rf"{name}: it is a {word}"):
            decode(source, lambda total: [0])


def test_a_manifest_that_is_a_pointer_is_called_so(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "m.parquet").write_bytes(POINTER)
    with pytest.raises(DataError, match=r"m\.parquet: it is a Git LFS pointer"):
        list(read_rows(tmp_path / "m.parquet", beside=tmp_path / "m.parquet"))
