"""A tar that is compressed is told as that, whatever its name."""

import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from ivn.corpus.index.found import found_at
from ivn.corpus.index.items import UnusableItem
from ivn.errors import DecodeError
from ivn.media.source import Source
from ivn.media.storage import read_bytes
from tests.media.videos import CASES

SAID = "a compressed tar, whose members cannot be reached: unpack it"


def plain(name):
    """The bytes of a tar with one member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 5
        tar.addfile(member, io.BytesIO(b"video"))
    return out.getvalue()


COMPRESSED = {
    "gzip": gzip.compress(plain("a.mp4")),
    "bzip2": bz2.compress(plain("a.mp4")),
    "xz": lzma.compress(plain("a.mp4")),
    # A frame's header, and what may follow.
    "zstd": b"\x28\xb5\x2f\xfd\x60" + bytes(range(256)),
    "lz4": b"\x04\x22\x4d\x18\x64" + bytes(range(256)),
    "short": gzip.compress(b""),
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_tar_is_told_whatever_its_name(tmp_path, kind):
    for name in ("a.tar", "a.tar.gz"):
        (tmp_path / name).write_bytes(COMPRESSED[kind])
        assert list(found_at(str(tmp_path / name), tmp_path / "m.parquet")) == [
            UnusableItem(str(tmp_path / name), SAID)
        ]
    with pytest.raises(DecodeError, match="no plain file of this name in the tar, which is a comp"):
        read_bytes(Source(str(tmp_path / "a.tar"), member="a.mp4"))


def test_the_packed_tar_is_told_as_what_it_is(tmp_path):
    (refused,) = found_at(str(CASES / "packed.tar"), tmp_path / "m.parquet")
    assert refused.reason == SAID


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "a Git LFS pointer,",
        ),
        (b"<!DOCTYPE html>\n<html>" + b" " * 2000, "a web page (HTML or XML),"),
    ],
)
def test_what_lies_where_a_tar_was_meant_to_be_is_told(tmp_path, data, said):
    (tmp_path / "a.tar").write_bytes(data)
    (refused,) = found_at(str(tmp_path / "a.tar"), tmp_path / "m.parquet")
    assert refused.reason.startswith(said)


@pytest.mark.parametrize("name", ["BZh.mp4", "LZIP.mp4"])
def test_a_plain_tar_is_read_though_it_begins_as_compressed_ones_do(tmp_path, name):
    (tmp_path / "a.tar").write_bytes(plain(name))
    (row,) = found_at(str(tmp_path / "a.tar"), tmp_path / "m.parquet")
    assert row.member == name
    # And damage behind its first member is damage.
    (tmp_path / "a.tar").write_bytes(plain(name)[:1024] + b"x" * 2000)
    refused, row = found_at(str(tmp_path / "a.tar"), tmp_path / "m.parquet")
    assert row.member == name and "damaged" in refused.reason
