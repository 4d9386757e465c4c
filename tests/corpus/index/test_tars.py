"""Tars: what is in them becomes rows, and nothing in them can do harm."""

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from ivn.corpus.index.items import Remark, UnusableItem
from ivn.corpus.index.tars import read_tar
from ivn.data.manifest.parquet import Row, read_manifest, write_manifest
from tests.media.videos import noise, write_mp4

pytest.importorskip("pyarrow")
FILES = Path(__file__).parents[2] / "cases" / "files"


def member(name, data=b"video", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, data


def tar(place, members, **options):
    with tarfile.open(place, "w", errors="surrogateescape", **options) as file:
        for info, data in members:
            file.addfile(info, io.BytesIO(data))
    return place


def split(found):
    found = list(found)
    rows = [one for one in found if isinstance(one, Row)]
    return rows, [(one.name, one.reason) for one in found if isinstance(one, UnusableItem)]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_video_is_a_row_with_its_bytes_and_what_lies_beside_it(tmp_path, form):
    long = "folder/" + "n" * 150 + "ö"
    record = {
        "caption": "two",
        "verb": 3,
        "labels": {"noun": "cup"},
        "group": "film",
        "flip": False,
    }
    record |= {"path": "/etc/passwd", "status": "success", "audio": "/x", "width": 9, "url": [1]}
    members = [
        member("a/", b"", type=tarfile.DIRTYPE),
        *[member("a/1.txt", b"a cat\n"), member("a/1.cls", b"7"), member("a/1.mp4", b"one")],
        *[member("a/2.mkv", b"two!"), member("a/2.json", json.dumps(record).encode())],
        *[member(f"{long}.json", b'{"start": 1, "end": 2.5}'), member(f"{long}.front.mp4", b"3")],
        *[member("b.jpg", b"picture"), member("README", b"x")],
    ]
    place = tar(tmp_path / "s.tar", members, format=form)
    rows, refused = split(read_tar(place))
    assert refused == []
    data = place.read_bytes()
    assert [data[row.offset : row.offset + row.bytes] for row in rows] == [b"one", b"two!", b"3"]
    assert [replace(row, offset=0, bytes=0) for row in rows] == [
        Row(str(place), "a/1.mp4", labels={"label": "7"}, captions=("a cat",)),
        Row(
            *(str(place), "a/2.mkv"),
            labels={"verb": "3", "noun": "cup"},
            captions=("two",),
            group="film",
            flip=False,
        ),
        Row(str(place), f"{long}.front.mp4", start=1.0, end=2.5),
    ]


def test_hostile_members_are_refused_by_name_and_the_rest_is_read(tmp_path):
    out = tmp_path / "inside"
    out.mkdir()
    latin = os.fsdecode(b"caf\xe9.mp4")
    members = [
        *[member("../../x.mp4"), member("/etc/x.mp4"), member("a/../../x.mp4")],
        member("link.mp4", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard.mp4", b"", type=tarfile.LNKTYPE, linkname="good.mp4"),
        member("device.mp4", b"", type=tarfile.CHRTYPE),
        member("pipe.mp4", b"", type=tarfile.FIFOTYPE),
        *[member("empty.mp4", b""), member("good.mp4"), member(latin), member("new\nline.mp4")],
        *[member("big.txt", bytes(2**20 + 1)), member("big.mp4")],
        *[
            member("odd.json", b"{"),
            member("odd.mp4"),
            member("list.json", b"[]"),
            member("list.mp4"),
        ],
        *[member("deep.json", b"[" * 100_000), member("deep.mp4"), member("l.cls", b"\xff")],
        member("l.mp4"),
    ]
    place = tar(out / "s.tar", members, format=tarfile.GNU_FORMAT)
    rows, refused = split(read_tar(place))
    names = [
        "good.mp4",
        latin,
        "new\nline.mp4",
        "big.mp4",
        "odd.mp4",
        "list.mp4",
        "deep.mp4",
        "l.mp4",
    ]
    assert [row.member for row in rows] == names
    reasons = {name.removeprefix(f"{place}, "): reason for name, reason in refused}
    outside = "a name that leads out of the folder"
    assert reasons == {
        "member ../../x.mp4": outside,
        "member /etc/x.mp4": outside,
        "member a/../../x.mp4": outside,
        "member link.mp4": "a link",
        "member hard.mp4": "a link",
        "member device.mp4": "no plain file",
        "member pipe.mp4": "no plain file",
        "member empty.mp4": "the member is empty (0 bytes)",
        "member big.txt": "1048577 bytes, which no label has",
        "sample odd": "its .json cannot be read",
        "sample list": "its .json is no object",
        "sample deep": "its .json cannot be read",
        "member l.cls": "expected UTF-8 text",
    }
    assert os.listdir(tmp_path) == ["inside"] and os.listdir(out) == ["s.tar"]


def labels(place):
    return {row.member: dict(row.labels) for row in split(read_tar(place))[0]}


def remarks(place):
    return [one.text for one in read_tar(place) if isinstance(one, Remark)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("packed-on-macos", {"./000.mp4": "wave", "./001.mp4": "jump"}),
        ("labels-apart", {"a.mp4": "a", "b.mp4": "b"}),
        ("dots-in-names", {"clip 2.0.mp4": "wave"}),
        ("bom", {"a.mp4": "3", "b.mp4": "3"}),
    ],
)
def test_a_tar_of_another_program_keeps_its_labels(name, expected):
    place = FILES / f"{name}.tar"
    assert labels(place) == {video: {"label": label} for video, label in expected.items()}
    assert split(read_tar(place))[1] == remarks(place) == []


def test_what_file_managers_hide_is_no_video_and_parts_no_sample(tmp_path):
    hidden = ["._a.mp4", "__MACOSX/._a.mp4", "__MACOSX/a.mp4", ".DS_Store", ".git/b.mp4", ".a.mp4"]
    hidden += ["PaxHeaders.7/a.mp4", "PaxHeader/a.mp4", "PaxHeaders/a.mp4"]
    hidden += ["._a.cls", "./._a.txt"]
    for name in ("a", "./a", "folder/a", "f.old/a"):
        parted = [member("f/" * (name == "f.old/a") + one) for one in hidden]
        parted += [member("._link.mp4", b"", type=tarfile.SYMTYPE, linkname="x")]
        members = [member(f"{name}.cls", b"7"), *parted, member(f"{name}.mp4"), *parted]
        place = tar(tmp_path / "s.tar", members)
        assert labels(place) == {f"{name}.mp4": {"label": "7"}}
        assert split(read_tar(place))[1] == remarks(place) == []


@pytest.mark.parametrize("texts", ["before", "behind", "between", "sorted"])
def test_labels_are_found_wherever_they_stand(tmp_path, texts):
    videos = [member("t/a.MP4"), member("./b 1.5.mkv"), member("c.mov")]
    said = [
        *[member("t/a.JSON", b'{"verb": "run"}'), member("b 1.5.cls", b"5\n")],
        *[member("./c.Cls", b"\xef\xbb\xbf6"), member("t/a.cls", b"4")],
    ]
    members = {
        "before": [*said, *videos],
        "behind": [*videos, *said],
        "between": [*said[:2], *videos, *said[2:]],
        "sorted": sorted([*videos, *said], key=lambda one: one[0].name),
    }[texts]
    place = tar(tmp_path / "s.tar", members)
    assert labels(place) == {
        "t/a.MP4": {"label": "4", "verb": "run"},
        "./b 1.5.mkv": {"label": "5"},
        "c.mov": {"label": "6"},
    }
    assert split(read_tar(place))[1] == remarks(place) == []


def test_of_names_with_dots_each_video_has_its_own_labels(tmp_path):
    members = [
        *[member("clip 2.0.cls", b"0"), member("clip 2.0.mp4")],
        *[member("clip 2.1.mp4"), member("clip 2.1.cls", b"1"), member("clip 2.2.mp4")],
        *[member("two.cls", b"t"), member("two.left.mp4"), member("two.right.mp4")],
        *[member("two.left.json", b'{"side": "l"}'), member("two.left.up.mp4")],
        *[member("one.cls", b"o"), member("one.flow.mp4"), member("one.mp4")],
        *[member("x.cls", b"x"), member("y.mp4"), member("x.left.mp4"), member("x.2.cls", b"9")],
    ]
    place = tar(tmp_path / "s.tar", members)
    assert labels(place) == {
        "clip 2.0.mp4": {"label": "0"},
        "clip 2.1.mp4": {"label": "1"},
        "clip 2.2.mp4": {},
        "two.left.mp4": {"label": "t", "side": "l"},
        "two.right.mp4": {"label": "t"},
        "two.left.up.mp4": {"label": "t"},
        "one.flow.mp4": {},
        "one.mp4": {"label": "o"},
        "y.mp4": {},
        "x.left.mp4": {},
    }
    assert remarks(place) == ["labels of no video in it: 2 (x.cls, ...)"]


def test_labels_of_no_video_are_told_once_with_their_number(tmp_path):
    said = [member(f"gone {number}.cls", b"1") for number in range(3)]
    members = [member("a.mp4"), *said, member("other/a.json", b"{}"), member("e.txt", b" \n")]
    members += [member("e.mp4"), member("e.cls", b"")]
    place = tar(tmp_path / "s.tar", members)
    assert labels(place) == {"a.mp4": {}, "e.mp4": {}}
    assert split(read_tar(place))[0][1].captions == ()
    assert remarks(place) == [
        "labels of no video in it: 4 (gone 0.cls, ...)",
        "labels that are empty: 2 (e.cls, ...)",
    ]


def test_what_is_said_twice_holds_where_it_is_the_same(tmp_path):
    members = [member("a.mp4"), member("a.cls", b"1"), member("a.CLS", b"1"), member("a.mkv")]
    members += [member("b.cls", b"1"), member("b.mp4"), member("b.cls", b"2")]
    # Tars that were joined have names twice, each with its own labels.
    members += [member("c.mp4"), member("c.cls", b"3"), member("d.mp4"), member("c.mp4")]
    place = tar(tmp_path / "s.tar", [*members, member("c.cls", b"4")])
    rows, refused = split(read_tar(place))
    found = [(row.member, row.labels.get("label")) for row in rows]
    assert found == [
        *[("a.mp4", "1"), ("a.mkv", "1"), ("b.mp4", None)],
        *[("c.mp4", "3"), ("d.mp4", None), ("c.mp4", "4")],
    ]
    assert refused == [(f"{place}, member b.cls", "there 2 times and not the same: none is taken")]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"label": ["a", 2]}, {"label": "a;2"}),
        ({"labels": "a"}, {"label": "a"}),
        ({"labels": ["a", "b"]}, {"label": "a;b"}),
        ({"label": {"verb": "run"}}, {"verb": "run"}),
        ({"labels": {"verb": ["a", "b"], "noun": None}}, {"verb": "a;b"}),
        ({"label": None, "verb": "", "noun": float("nan"), "n": 3}, {"n": "3"}),
        ({"label": [{"id": 3}]}, '"label" in its .json is no text, number or list of these'),
        ({"labels": {"verb": {"id": 3}}}, '"labels" in its .json is no text, number or list'),
    ],
)
def test_labels_in_json_are_taken_or_told(tmp_path, record, expected):
    members = [member("a.json", json.dumps(record).encode("utf-8-sig")), member("a.mp4")]
    (row,), refused = split(read_tar(tar(tmp_path / "s.tar", members)))
    if isinstance(expected, str):
        assert row.labels == {} and expected in refused[0][1]
    else:
        assert (row.labels, refused) == (expected, [])


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"start": "1.5", "end": " 3"}, {"start": 1.5, "end": 3.0}),
        ({"start": None, "end": float("nan"), "flip": None, "group": ""}, {}),
        ({"group": 12, "source": 3, "flip": False}, {"group": "12", "source": "3", "flip": False}),
        ({"start": "00:01:02"}, '"start" in its .json is no number of seconds'),
        ({"end": True}, '"end" in its .json is no number of seconds'),
        ({"end": float("inf")}, '"end" in its .json is no number of seconds'),
        ({"flip": 0}, '"flip" in its .json is neither true nor false'),
        ({"flip": "no"}, '"flip" in its .json is neither true nor false'),
        ({"group": ["a", "b"]}, '"group" in its .json is no text or number'),
    ],
)
def test_windows_groups_and_mirroring_in_json_are_taken_or_told(tmp_path, record, expected):
    members = [member("a.json", json.dumps(record).encode()), member("a.mp4")]
    (row,), refused = split(read_tar(tar(tmp_path / "s.tar", members)))
    told = {} if isinstance(expected, str) else expected
    assert row == replace(Row(row.path, row.member, row.offset, bytes=row.bytes), **told)
    assert [reason for _, reason in refused] == ([expected] if isinstance(expected, str) else [])


def test_a_cls_of_several_lines_says_several_labels(tmp_path):
    members = [member("a.cls", b"\xef\xbb\xbf3\r\n 4 5\r\n\r\n"), member("a.mp4")]
    assert labels(tar(tmp_path / "s.tar", members)) == {"a.mp4": {"label": "3;4 5"}}


def test_a_cls_goes_before_the_label_in_json_whichever_is_first(tmp_path):
    said = [member("a.cls", b"3"), member("a.json", b'{"label": "wave"}')]
    for members in (said, said[::-1]):
        place = tar(tmp_path / "s.tar", [*members, member("a.mp4")])
        assert labels(place) == {"a.mp4": {"label": "3"}}


def headers(*blocks):
    return b"".join(block.ljust(-(-len(block) // 512) * 512, b"\0") for block in blocks)


def raw(name, size=5, kind=tarfile.REGTYPE):
    """A header that says anything of its size."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    negative = (
        size.to_bytes(12, "big", signed=True) if size < 0 else b"\x80" + size.to_bytes(11, "big")
    )
    block[124:136] = negative
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:512]) + 8 * 32)
    return bytes(block)


GOOD = headers(raw("good.mp4"), b"video")
END = bytes(1024)


@pytest.mark.parametrize(
    ("data", "rows", "words"),
    [
        (b"", 0, "damaged"),
        (b"no tar" * 300, 0, "damaged"),
        (GOOD, 1, "cut off"),
        (GOOD + raw("cut.mp4", 10**6) + b"x" * 600, 1, "cut off"),
        (GOOD + b"rubbish" * 500 + GOOD + END, 1, "no header there"),
        (GOOD + raw("far.mp4", 2**62) + END, 1, "cut off"),
        (GOOD + raw("back.mp4", -1024) + END, 1, "damaged"),
        (GOOD + raw("back.mp4", -(2**70)) + END, 1, "damaged"),
        (GOOD + raw("long", 2**40, tarfile.GNUTYPE_LONGNAME) + END, 1, "a header of"),
        (GOOD + raw("long", -512, tarfile.GNUTYPE_LONGNAME) + END, 1, "a header of"),
        (GOOD + raw("pax", 2**40, tarfile.XHDTYPE) + END, 1, "a header of"),
        (
            GOOD + headers(*[raw("long", 5, tarfile.GNUTYPE_LONGNAME), b"name"] * 3000) + END,
            1,
            "damage",
        ),
        (GOOD + raw("sparse.mp4", 5, tarfile.GNUTYPE_SPARSE) + bytes(512) + END, 1, "sparse"),
    ],
)
def test_damage_and_lies_are_told_once_and_what_was_whole_is_kept(tmp_path, data, rows, words):
    place = tmp_path / "s.tar"
    place.write_bytes(data)
    found, refused = split(read_tar(place))
    assert [row.member for row in found] == ["good.mp4"] * rows
    assert all(row.offset == 512 and row.bytes == 5 for row in found)
    assert len(refused) == 1
    assert str(place) in refused[0][0] and words in " ".join(refused[0])


def test_a_tar_that_lies_about_sizes_costs_no_memory(tmp_path):
    """A sparse file of 4 GiB behind one header that claims all of it as its name."""
    place = tmp_path / "s.tar"
    with place.open("wb") as file:
        file.write(GOOD + raw("long", 2**32, tarfile.GNUTYPE_LONGNAME))
        file.truncate(2**32 + 4096)
    code = (
        "import resource\n"
        "from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (2**29, 2**29))\n"
        "from ivn.corpus.index.tars import read_tar\n"
        f"print(len(list(read_tar(Path({str(place)!r})))))"
    )
    said = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("2\n", "")


def test_what_a_tar_is_indexed_as_is_read_as_it_was_before(tmp_path):
    from ivn.media.decode import decode

    video = write_mp4(tmp_path / "v.mp4", noise(6))
    files = [member("x.mp4", b"none"), member("k/1.mp4", video.read_bytes())]
    (bad, row), _ = split(read_tar(tar(tmp_path / "s.tar", files)))
    write_manifest(tmp_path / "m.parquet", [replace(row, path="s.tar"), bad])
    (source, _) = read_manifest(tmp_path / "m.parquet")
    assert (decode(source, lambda n: range(n)) == decode(video, lambda n: range(n))).all()
