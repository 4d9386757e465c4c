import hashlib
import io
import os
import tarfile

import pytest
import torch

from ivn.data.manifest.identity import fingerprint
from ivn.errors import DecodeError
from ivn.media import storage as contents
from ivn.media.container import opened
from ivn.media.decode import count_frames, decode, frames_in_order
from ivn.media.source import BUNDLED_CLIPS, Source
from ivn.media.storage import read_bytes
from tests.media.videos import noise, write_video

pytest.importorskip("av")
CLIP = BUNDLED_CLIPS / "nasa.mp4"
ODD = ["plain.mp4", "../../x.mp4", "a b'\"\n.mp4", "bad\udcff.mp4", "sub/" + 120 * "n" + ".mp4"]


def some(total):
    return [0, total // 2, total - 1]


def write_tar(path, members, kind=tarfile.GNU_FORMAT):
    """A tar of name -> bytes, and where they are in it: name -> (offset, size)."""
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    with tarfile.open(path) as tar:
        return {member.name: (member.offset_data, member.size) for member in tar}


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_member_gives_the_frames_of_its_file(tmp_path, name, kind):
    data = CLIP.read_bytes()
    tar = tmp_path / "shard.tar"
    offset, size = write_tar(tar, {"other.json": b"{}", name: data, "z": b"z"}, kind)[name]
    placed = Source(str(tar), member=name, offset=offset, size=size)
    looked_up = Source(str(tar), member=name)
    expected = decode(CLIP, some)
    for source in (placed, looked_up):
        assert read_bytes(source) == data
        assert torch.equal(decode(source, some), expected)
        assert count_frames(source) == count_frames(CLIP)
    assert torch.equal(next(frames_in_order(placed)).image(), expected[0])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["shard.tar"]


def test_a_window_of_a_member_is_that_of_its_file(tmp_path):
    file = write_video(tmp_path / "a.mp4", noise(90), codec="libx264", pix_fmt="yuv420p", gop=12)
    tar = tmp_path / "shard.tar"
    write_tar(tar, {"a.mp4": file.read_bytes()})
    for start, end in ((0.0, 2.0), (5.3, 7.1), (6.0, -1.0)):
        member = Source(str(tar), member="a.mp4", start=start, end=end)
        assert torch.equal(decode(member, range), decode(file, range, start=start, end=end))
    with pytest.raises(ValueError, match="a source has a window of its own"):
        decode(Source(str(file)), some, start=1.0)


def test_a_members_bytes_are_read_and_no_others(tmp_path, monkeypatch):
    members = {f"{i}.mp4": bytes([i]) * 100_000 for i in range(20)}
    places = write_tar(tmp_path / "shard.tar", members)
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *at: read.append(at[1:]) or pread(*at))
    offset, size = places["7.mp4"]
    source = Source(str(tmp_path / "shard.tar"), member="7.mp4", offset=offset, size=size)
    assert read_bytes(source) == members["7.mp4"]
    assert read == [(size + 512, offset - 512)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"member": "none.mp4", "offset": 0, "size": 0}, "no plain file of this name"),
        ({"member": "link.mp4", "offset": 0, "size": 0}, "no plain file of this name"),
        ({"member": "empty.mp4", "offset": 0, "size": 0}, "the member is empty"),
        ({"offset": 10**9}, r"of a tar of \d+: index it anew"),
        ({"size": 2**62}, "more than 4294967296: unpack it"),
        ({"size": -1}, "index it anew"),
        ({"offset": 3}, "index it anew"),
        ({"offset": 1000}, "not as it was indexed"),
        ({"size": 1000}, "the tar holds b.mp4 of 3000 bytes there: index it anew"),
        ({"member": "c.mp4"}, "the tar holds b.mp4 of 3000 bytes there"),
        ({"path": "missing.tar"}, "no such file"),
        ({"path": "text.tar", "offset": 0, "size": 0}, "in the tar, which is damaged"),
    ],
)
def test_a_member_that_is_not_there_is_one_clear_line(tmp_path, change, reason):
    tar = tmp_path / "shard.tar"
    with tarfile.open(tar, "w") as made:
        for name, data in (("a.mp4", bytes(2000)), ("b.mp4", bytes(3000)), ("empty.mp4", b"")):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            made.addfile(header, io.BytesIO(data))
        link = tarfile.TarInfo("link.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, str(CLIP)
        made.addfile(link)
    (tmp_path / "text.tar").write_text("no tar at all\n" * 100)
    with tarfile.open(tar) as made:
        offset = made.getmember("b.mp4").offset_data
    good = {"path": "shard.tar", "member": "b.mp4", "offset": offset, "size": 3000}
    asked = good | change
    source = Source(**asked | {"path": str(tmp_path / asked["path"])})
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(source, some)
    assert str(caught.value).startswith(source.path) and "\n" not in str(caught.value)


def test_a_member_of_a_damaged_tar_is_read_by_its_name_where_the_damage_is_behind_it(tmp_path):
    tar = tmp_path / "shard.tar"
    write_tar(tar, {"a.mp4": b"first", "b.mp4": bytes(5000)})
    os.truncate(tar, 2000)
    assert read_bytes(Source(str(tar), member="a.mp4")) == b"first"
    for member in ("b.mp4", "c.mp4"):
        with pytest.raises(DecodeError) as caught:
            read_bytes(Source(str(tar), member=member))
        assert str(caught.value).startswith(f"{tar}, member {member}: ")


def test_a_tar_that_was_replaced_is_looked_through_again(tmp_path):
    tar = tmp_path / "shard.tar"
    write_tar(tar, {"a.mp4": b"first"})
    assert read_bytes(Source(str(tar), member="a.mp4")) == b"first"
    write_tar(tmp_path / "new.tar", {"b.mp4": b"x", "a.mp4": b"other"})
    os.replace(tmp_path / "new.tar", tar)
    assert read_bytes(Source(str(tar), member="a.mp4")) == b"other"


def test_a_playlist_in_a_tar_reaches_for_no_file(tmp_path):
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{CLIP}\n#EXT-X-ENDLIST\n"
    write_tar(tmp_path / "a.tar", {"a.m3u8": playlist.encode(), "a.mp4": playlist.encode()})
    for name in ("a.m3u8", "a.mp4"):
        with pytest.raises(DecodeError, match="cannot be decoded"):
            decode(Source(str(tmp_path / "a.tar"), member=name), some)


def test_a_pipe_in_a_files_place_does_not_hang(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.mp4")
    source = Source(str(tmp_path / "a.mp4"))
    with pytest.raises(DecodeError, match="not a file"):
        read_bytes(source)
    monkeypatch.setattr(contents, "check_file", lambda *_: None)
    with pytest.raises(DecodeError, match="not a file"):
        read_bytes(source)


@pytest.mark.parametrize("what", ["cut", "grown", "replaced"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path, monkeypatch, what):
    file = tmp_path / "a.mp4"
    data = CLIP.read_bytes()
    file.write_bytes(data)

    def change():
        if what == "replaced":
            (tmp_path / "new").write_bytes(data)
            os.replace(tmp_path / "new", file)
        else:
            file.write_bytes(data[:-1000] if what == "cut" else data + b"more")

    with (
        pytest.raises(DecodeError, match=r"changed while it was read|cannot be decoded"),
        opened(Source(str(file))) as (_, _, packets),
    ):
        change()
        list(packets)
    file.write_bytes(data)
    pread = os.pread

    def changing(*at):
        change()
        return pread(*at)

    monkeypatch.setattr(os, "pread", changing)
    if what == "replaced":  # what was opened stays whole
        assert read_bytes(Source(str(file))) == data
    else:
        with pytest.raises(DecodeError, match=r"changed while|truncated, \d+ of \d+ bytes"):
            read_bytes(Source(str(file)))


def test_a_name_with_a_percent_sign_is_one_picture(tmp_path):
    from PIL import Image

    for name in ("100%d.png", "1000.png"):
        Image.fromarray(noise(2)[int("1000" in name)]).save(tmp_path / name)
    assert torch.equal(decode(tmp_path / "100%d.png", some)[0], torch.from_numpy(noise(2)[0]))


def test_members_are_told_apart_by_the_fingerprint_and_files_keep_theirs():
    one = Source("a.tar", member="1.mp4", offset=512, size=3)
    assert fingerprint([one]) != fingerprint([Source("a.tar", member="2.mp4")])
    assert fingerprint([one]) == fingerprint([Source("a.tar", member="1.mp4")])
    file = Source("a.mp4", "x", 1.0, 2.0, decoder="pyav")
    recorded = hashlib.sha256(b"('a.mp4', 'x', 1.0, 2.0, True)").hexdigest()
    assert fingerprint([file]) == recorded
