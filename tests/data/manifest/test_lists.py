"""Lists: what other programs write is read as it was meant, or refused with its line."""

import gc
import os
import sys
from pathlib import Path

import pytest

from ivn.data.manifest.listing import list_clips
from ivn.data.manifest.lists import count_lines, read_list
from ivn.data.manifest.row import Row
from ivn.errors import DataError

FILES = Path(__file__).parents[2] / "cases" / "files"
VIDEOS = [
    *("a.mp4", "b.mp4", "Hello, world.mp4", "#1.mp4", "# 2.mp4", " c.mp4", "d  e.mp4", "f.mp4 "),
    *("x", "y", "x, y", '"q".mp4'),
]


@pytest.fixture
def read(tmp_path):
    """A list's paths with their labels; what is wrong with a line, with its number."""
    for name in VIDEOS:
        (tmp_path / name).touch()

    def read(text, name="l.csv"):
        place = tmp_path / name
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        found = [
            (row.path, *row.labels.values()) if isinstance(row, Row) else f"{line}: {row}"
            for line, row in read_list(place)
        ]
        assert count_lines(place) == len(found)
        return found

    return read


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("comma-in-first-path.txt", [("Hello, world.mp4", {}), ("plain.mp4", {})]),
        (
            "multiline-caption.csv",
            [
                ("plain.mp4", {"label": "wave", "caption": "one\ntwo, three"}),
                ("mirrored.mp4", {"label": "jump", "caption": "x"}),
            ],
        ),
        (
            "empty-first-column.tsv",
            [("plain.mp4", {"label": "wave"}), ("mirrored.mp4", {"label": "jump"})],
        ),
    ],
)
def test_a_list_of_another_program_is_read_as_it_was_meant(name, rows):
    found = [(Path(source.path).name, source.labels) for source in list_clips(FILES / name)]
    assert found == rows


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        (["Hello, world.mp4", "a.mp4"], [("Hello, world.mp4",), ("a.mp4",)]),
        (["Hello, world.mp4 1", "a.mp4 2"], [("Hello, world.mp4", "1"), ("a.mp4", "2")]),
        (['"Hello, world.mp4"', "a.mp4"], [("Hello, world.mp4",), ("a.mp4",)]),
        (['"Hello, world.mp4",1', "a.mp4"], [("Hello, world.mp4", "1"), ("a.mp4",)]),
        (
            ["k400 Hello, world.mp4 9 -1 -1 7", "s a.mp4 9 -1 -1 8"],
            [(VIDEOS[2], "7"), ("a.mp4", "8")],
        ),
        (["a.mp4", "b.mp4,wave"], [("a.mp4",), ("b.mp4", "wave")]),
        (["a.mp4\tone two", "b.mp4"], [("a.mp4", "one two"), ("b.mp4",)]),
        (["a.mp4;one, two", "b.mp4;3"], [("a.mp4", "one, two"), ("b.mp4", "3")]),
        (["a.mp4|one;two", "b.mp4|3"], [("a.mp4", "one;two"), ("b.mp4", "3")]),
        (["a.mp4 one;two", "b.mp4 3"], [("a.mp4", "one;two"), ("b.mp4", "3")]),
        (["a.mp4,one;two", "b.mp4,3"], [("a.mp4", "one;two"), ("b.mp4", "3")]),
        (['"q".mp4', "a.mp4"], [('"q".mp4',), ("a.mp4",)]),
        (["video clip.mp4 3", "a.mp4 4"], [("video clip.mp4", "3"), ("a.mp4", "4")]),
        (["x,1", "y,2"], [("x", "1"), ("y", "2")]),
        (
            ["d  e.mp4 3", " c.mp4", "  a.mp4  ", "f.mp4 "],
            [(VIDEOS[6], "3"), (" c.mp4",), ("a.mp4",), ("f.mp4 ",)],
        ),
        (["#1.mp4", "# 1.mp4", "#", "a.mp4"], [("#1.mp4",), None, None, ("a.mp4",)]),
    ],
)
def test_no_line_of_a_list_without_header_depends_on_its_place(read, lines, rows):
    expected = [row for row in rows if row]
    for suffix in ("csv", "tsv", "txt"):
        assert read("\n".join(lines), f"l.{suffix}") == expected
        assert read("\r\n".join(reversed(lines)), f"l.{suffix}") == expected[::-1]


def test_without_suffixes_what_is_there_decides(read, tmp_path):
    assert read("gone, 1\nx, y\nx\n", "l.txt")[-1] == ("x",)
    assert read('"x, y"\nx\n') == [("x, y",), ("x",)]
    assert read("video,class\nx,2\n") == [("x", "2")]
    (tmp_path / "video").touch()
    assert read("video,class\nx,2\n") == [("video", "class"), ("x", "2")]


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_quoted_fields_hold_anything_and_a_record_is_named_by_its_first_line(
    read, mark, end, suffix
):
    lines = ["path,label,", '"a.mp4","one,', '# two ""three""",', "", "b.mp4,x", '"b.mp4",x,9']
    text = end.join(lines).replace(",", mark)
    assert read(text, f"l.{suffix}") == [
        ("a.mp4", f'one{mark}{end}# two "three"'),
        "5: 2 fields, expected 3 as in the first line",
        ("b.mp4", "x"),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\ufeff,path,label\r\n0,a.mp4,wave\r\n", [("a.mp4", "wave")]),
        ("label,path,\nwave,a.mp4,\n,b.mp4,9\n", [("a.mp4", "wave"), ("b.mp4",)]),
        (
            "path, label\n a.mp4, wave\n c.mp4,x\nf.mp4 ,y\n",
            [("a.mp4", "wave"), (" c.mp4", "x"), ("f.mp4 ", "y")],
        ),
        ("#,path\n1,a.mp4\n", [("a.mp4", "1")]),
        ("#\tpath\n1\ta.mp4\n", [("a.mp4", "1")]),
        (
            "# made by hand\npath,label\n# 2.mp4,wave\n#1.mp4,x\n",
            [("# 2.mp4", "wave"), ("#1.mp4", "x")],
        ),
        ('path\nHello, world.mp4\n"a.mp4"\nd  e.mp4\n', [(VIDEOS[2],), ("a.mp4",), (VIDEOS[6],)]),
        ('path label\n"d  e.mp4" 3\na.mp4   4\n', [(VIDEOS[6], "3"), ("a.mp4", "4")]),
        ("path,label\na.mp4,wave,\n,\n , \n", [("a.mp4", "wave")]),
        ("path,label\na.mp4,one\u2028two\n", [("a.mp4", "one\u2028two")]),
        (
            "path,label\na.mp4,b,wave\n,8\n",
            ["2: 3 fields, expected 2 as in the first line", "3: no path"],
        ),
        ("path,label\na.mp4\n", ["2: 1 field, expected 2 as in the first line"]),
        (
            'path,label\na.mp4,"wave\nb.mp4,x\n',
            ["2: not fields separated by ',' (a quote is not closed)"],
        ),
        (
            'path,label\na.mp4, "wave"\n',
            ["2: a quote after a space: it must be the first character of the field"],
        ),
    ],
)
def test_columns_and_fields_stay_what_they_are(read, text, found):
    assert read(text) == found


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a.mp4,wave\nHello, world.mp4\nb.mp4,x\n", 2, "'Hello' is neither a file nor the name of"),
        ("clip,class name\na.mp4,wave\n", 1, "needs one called 'path'"),
        (
            "a.mp4 jump, high\nb.mp4 run, fast\n",
            1,
            "'a.mp4 jump' continues after the name of a vid",
        ),
        ("a.mp4::3\nb.mp4::4\n", 1, "continues after the name of a video"),
        ("path\na.mp4 3\n", 2, "continues after the name of a video"),
    ],
)
def test_a_line_that_speaks_against_the_others_is_refused(read, text, line, words):
    (said,) = [one for one in read(text) if isinstance(one, str) and one.startswith(f"{line}: ")]
    assert words in said


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        ("path,label\na.mp4,x\n".encode("utf-16"), "looks like UTF-16: save it as UTF-8"),
        ("path,label\na.mp4,x\n".encode("utf-16-be"), "looks like UTF-16: save it as UTF-8"),
        ("path;label\na.mp4;é\n".encode("latin-1"), "expected UTF-8 text, byte 17 is not"),
        (b"path,verb,verb\na.mp4,x,y\n", "line 1: two columns are called 'verb'"),
        (b"path,label,label\na.mp4,x,y\n", "line 1: two columns are called 'label'"),
    ],
)
def test_what_is_no_list_is_one_line(read, data, words):
    with pytest.raises(DataError, match=words):
        read(data)


@pytest.mark.skipif(sys.platform != "linux", reason="open files are told by /proc")
def test_a_mark_that_does_not_part_the_fields_leaves_no_file_open(tmp_path):
    place = tmp_path / "l.csv"
    place.write_text('"q".mp4\na.mp4\n')
    gc.disable()
    try:
        count_lines(place)
        opened = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    finally:
        gc.enable()
    assert str(place) not in opened
