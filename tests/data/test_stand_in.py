import pytest

from ivn.data.stand_in import stand_in


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
