import os
import re
from dataclasses import fields, replace

import numpy as np
import pytest

from ivn.data.manifest.identity import fingerprint
from ivn.data.manifest.listing import list_clips
from ivn.data.manifest.parquet import Row, read_manifest, write_manifest
from ivn.data.manifest.row import schema
from ivn.errors import DataError
from ivn.media.source import Source
from tests.processes import ROOT, run_code

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ROW = Row(
    "deep/a b.mp4",
    start=1.5,
    end=4.0,
    labels={"label": "3", "verb": "öffnen; schließen"},
    captions=("a cat", "<script>alert(1)</script>"),
    targets={"depth": "deep/a.npz"},
    source="kitchens",
    group="film 1",
    width=64,
    frames=3_000_000_000,
    fps=29.97,
    codec="h264",
    flip=False,
    extra={"seed": "7"},
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a b.mp4").touch()
    return tmp_path


def written(folder, columns, name="m.parquet"):
    """A Parquet file of these columns, as any program may have written it."""
    parquet.write_table(pa.table(columns), folder / name)
    return folder / name


def test_what_is_written_is_read_as_sources_with_paths_beside_the_manifest(folder, monkeypatch):
    absolute = Row(str(folder / "deep" / "a b.mp4"), targets={"boxes": "/abs/b.json"})
    write_manifest(folder / "m.parquet", [ROW, absolute])
    path, depth = str(folder / "deep" / "a b.mp4"), str(folder / "deep" / "a.npz")
    expected = [
        Source(path, "3", 1.5, 4.0, False, "film 1", ROW.labels, {"depth": depth}),
        Source(path, targets={"boxes": "/abs/b.json"}),
    ]
    assert list_clips(folder / "m.parquet") == expected
    monkeypatch.chdir(folder / "deep")
    assert next(s.path for s in read_manifest("../m.parquet")) == "../deep/a b.mp4"


def test_every_column_survives_in_its_type(folder):
    write_manifest(folder / "m.parquet", [ROW, Row("b.mp4")])
    table = parquet.read_table(folder / "m.parquet")
    assert table.schema.equals(schema())
    assert table.schema.names == [column.name for column in fields(Row)]
    for row, told in zip([ROW, Row("b.mp4")], table.to_pylist(), strict=True):
        lists = {name: list(v) if isinstance(v, (list, tuple)) else v for name, v in told.items()}
        maps = {name: dict(lists[name]) for name in ("labels", "targets", "extra")}
        assert replace(Row(**(lists | maps)), captions=tuple(lists["captions"])) == row


def test_the_documented_columns_are_those_there_are():
    text = (ROOT / "docs" / "data.md").read_text()
    text = text.partition("\n## Manifests\n")[2].partition("\n## ")[0]
    table = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, re.MULTILINE))
    assert table == {field.name: str(field.type) for field in schema()}


def test_a_path_is_enough_and_other_columns_are_passed_over(folder):
    columns = {"path": ["deep/a b.mp4"], "rating": [90], "labels": [{"verb": "open", "n": 3}]}
    (source,) = read_manifest(written(folder, columns))
    assert source == Source(str(folder / "deep" / "a b.mp4"), labels={"verb": "open", "n": "3"})
    nulls = {
        name: pa.array([None], field.type)
        for name, field in zip(schema().names, schema(), strict=True)
    } | {"path": ["deep/a b.mp4"]}
    (source,) = read_manifest(written(folder, nulls))
    assert source == Source(str(folder / "deep" / "a b.mp4"))
    mirrored = {"path": ["deep/a b.mp4"] * 2, "source": ["ssv2", "k400"]}
    assert [s.flip for s in read_manifest(written(folder, mirrored))] == [False, True]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"video": ["a"]}, "no column path among video: not a manifest"),
        ({"path": pa.array([], pa.string())}, "a manifest without rows"),
        ({"path": ["deep/a b.mp4", None]}, "row 2: no path"),
        ({"path": [3]}, "row 1: path is 3, expected text"),
        ({"path": ["gone.mp4"]}, "none of 1 paths tried exists, .*gone.mp4"),
        ({"path": ["a"], "start": ["soon"]}, "row 1: start is 'soon', expected seconds"),
        ({"path": ["a"], "start": [float("nan")]}, "row 1: start is nan, expected seconds"),
        ({"path": ["a"], "start": [5], "end": [2]}, "row 1: starts at 5.0 s and ends at 2.0 s"),
        ({"path": ["a"], "labels": ["cat"]}, "row 1: labels is 'cat', expected names with values"),
        ({"path": ["a"], "labels": [[1, 2]]}, "row 1: labels is .1, 2., expected names"),
    ],
)
def test_a_wrong_manifest_is_one_line_that_says_where(folder, columns, message):
    file = written(folder, columns)
    with pytest.raises(DataError, match=message) as caught:
        list_clips(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_files_are_one_line_each(folder):
    write_manifest(folder / "m.parquet", [replace(ROW, group=str(i)) for i in range(200)])
    whole = np.frombuffer((folder / "m.parquet").read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    damaged = [whole[:0], whole[:4], whole[: len(whole) // 2], whole[8:]]
    for place in random.integers(0, len(whole), 150):
        flipped = whole.copy()
        flipped[place] ^= 1 << random.integers(8)
        damaged.append(flipped)
    refused = 0
    for data in damaged:
        (folder / "d.parquet").write_bytes(data.tobytes())
        try:
            read_manifest(folder / "d.parquet")
        except DataError as error:
            refused += 1
            assert str(folder / "d.parquet") in str(error) and "\n" not in str(error)
    assert refused > 50
    with pytest.raises(DataError, match="no such file or folder"):
        list_clips(folder / "none.parquet")


def test_a_text_that_is_no_unicode_is_refused_by_row_and_column(folder):
    latin = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"caf\xe9")]
    )
    with pytest.raises(DataError, match=r"can be read .*UTF8"):
        read_manifest(written(folder, {"path": latin}))
    with pytest.raises(DataError, match=r"column path: .*surrogates"):
        write_manifest(folder / "n.parquet", [Row(os.fsdecode(b"caf\xe9.mp4"))])
    assert not (folder / "n.parquet").exists()


def test_writing_overwrites_nothing_and_leaves_nothing_behind(folder):
    write_manifest(folder / "m.parquet", [ROW])
    before = (folder / "m.parquet").read_bytes()
    for name, rows, message in [
        ("m.parquet", [ROW, ROW], "is there already"),
        ("m.csv", [ROW], "ends in .parquet"),
        ("none.parquet", [], "no rows"),
        ("wide.parquet", [replace(ROW, width="wide")], "column width"),
    ]:
        with pytest.raises(DataError, match=message):
            write_manifest(folder / name, rows)
    assert (folder / "m.parquet").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["deep", "m.parquet"]


def test_groups_labels_and_targets_leave_a_runs_fingerprint_as_it_was():
    """Its value is that of the version before manifests: runs of then still go on."""
    plain = [Source("a.mp4", "3"), Source("b.mp4", start=1.0, flip=False)]
    known = "a8a32749acb6dbf5ab23e8d382a281edacae62bcf414ae66d92539867133e9a0"
    assert fingerprint(plain) == known
    grown = [
        replace(s, group="g", labels={**s.labels, "x": "y"}, targets={"d": "e"}) for s in plain
    ]
    assert fingerprint(grown) == known


def test_arrow_is_imported_where_a_manifest_is_and_not_before():
    code = (
        "import ivn.media.source, ivn.data.manifest.parquet, sys; print('pyarrow' in sys.modules)"
    )
    assert run_code(code).strip() == "False"
