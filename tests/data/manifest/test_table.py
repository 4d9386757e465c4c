"""Many sources in little memory."""

import copy
import itertools
import pickle
import random
from dataclasses import replace
from pathlib import Path

import pytest

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.identity import fingerprint, recorded
from ivn.data.manifest.parquet import Row, read_manifest, read_rows, write_manifest
from ivn.data.manifest.table import SourceTable
from ivn.errors import DataError
from ivn.media.source import BUNDLED_CLIPS, Source

pytest.importorskip("pyarrow")

NAMES = [
    "a b.mp4",
    "./x//y.mp4",
    "qu\"o'te\\.mp4",
    "line\nbreak.mp4",
    "üñí/ö.mp4",
    "t.tar",
    "/abs//./z.mp4",
]


def row(number):
    """Any row: all columns differ from row to row."""
    chosen = random.Random(number)
    name = NAMES[number % len(NAMES)]
    start = chosen.choice([0.0, 1.5, 1e-7, 12345.678])
    return Row(
        name,
        member=f"k/{number}.mp4" if name == "t.tar" else "",
        offset=512 * (number % 50) if name == "t.tar" else 0,
        start=start,
        end=chosen.choice([-1.0, start + 2]),
        labels=chosen.choice([{}, {"label": str(number)}, {"verb": "it's", "label": "ö"}]),
        targets=chosen.choice([{}, {"depth": f"{number}.npz"}]),
        source=chosen.choice(["", "ssv2"]),
        group=chosen.choice(["", "film"]),
        bytes=number,
        flip=chosen.random() < 0.5,
        decoder=chosen.choice(["", "pyav"]),
        status=chosen.choice(["", "ok"]),
    )


def expected(folder, of):
    return Source(
        str(folder / of.path),
        start=of.start,
        end=of.end,
        flip=of.flip,
        group=of.group,
        labels=of.labels,
        targets={kind: str(folder / file) for kind, file in of.targets.items()},
        member=of.member,
        offset=of.offset,
        size=of.bytes if of.offset else 0,
        decoder=of.decoder,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("table")
    (place / "a b.mp4").touch()
    write_manifest(place / "m.parquet", (row(number) for number in range(20_000)))
    return place


@pytest.fixture(scope="module")
def table(folder):
    return read_manifest(folder / "m.parquet")


def test_a_table_is_the_list_of_its_sources(folder, table):
    sources = [expected(folder, row(number)) for number in range(20_000)]
    assert len(table) == 20_000
    assert list(table) == sources
    for index in (0, 1, 8191, 8192, 16383, 16384, 19_999, -1, -20_000):
        assert table[index] == sources[index]
    for part in (slice(5, 9), slice(8190, 8195), slice(None, None, 999), slice(None, None, -1)):
        assert isinstance(table[part], SourceTable)
        assert list(table[part]) == sources[part]
        assert table[part] == sources[part] != sources
    assert list(table[100:200][10:20][::3]) == sources[110:120:3]
    for wrong in (20_000, -20_001):
        with pytest.raises(IndexError):
            table[wrong]


def test_the_fingerprint_is_that_of_the_list_of_the_same_sources(table):
    assert fingerprint(table) == fingerprint(list(table))
    assert fingerprint(table[100:9000]) == fingerprint(list(table)[100:9000])
    assert fingerprint(table[::-7]) == fingerprint(list(table)[::-7])
    for part in (table[100:9000], table[::-7]):
        assert recorded(part) == recorded(list(part))
    one = [source for source in table[:100] if source.member][:1]
    assert fingerprint(one) != fingerprint([replace(one[0], member="other")])
    assert fingerprint(one) == fingerprint([replace(one[0], offset=1, size=2, decoder="x")])


def test_rows_whose_status_is_a_reason_are_left_out_and_counted(folder):
    rows = [replace(row(n), status="broken" if n % 3 else "ok") for n in range(30)]
    write_manifest(folder / "s.parquet", rows)
    table = read_manifest(folder / "s.parquet")
    assert list(table) == [expected(folder, row(n)) for n in range(0, 30, 3)]
    assert (table.unusable, table[2:].unusable, read_manifest(folder / "m.parquet").unusable) == (
        *(20, 20),
        0,
    )
    write_manifest(folder / "none.parquet", [replace(row(0), status="broken")] * 4)
    with pytest.raises(DataError, match="each of its 4 rows is unusable"):
        read_manifest(folder / "none.parquet")


def test_a_pickle_is_the_same_table(table):
    for other in (pickle.loads(pickle.dumps(table[3:50])), copy.deepcopy(table[3:50])):
        assert (other, other.unusable) == (table[3:50], 0)


def test_workers_of_the_loader_read_a_table_as_they_read_the_list(tmp_path):
    videos = [str(file) for file in sorted(BUNDLED_CLIPS.glob("*.mp4"))[:4]]
    write_manifest(tmp_path / "m.parquet", [Row(file) for file in videos])
    table = read_manifest(tmp_path / "m.parquet")
    batches = []
    for sources, workers in ((table, 1), ([Source(file) for file in videos], 0)):
        options = {"batch_size": 2, "workers": workers}
        with ClipLoader(sources, {"a": ClipSpec(2, 28)}, DataConfig(), **options) as loader:
            batches.append([batch.clips["a"] for batch in itertools.islice(loader, 2)])
    assert all((a == b).all() for a, b in zip(*batches, strict=True))


def test_rows_are_read_as_they_were_written_and_as_a_new_place_needs_them(folder, tmp_path):
    rows = [
        replace(row(n), audio="a/b.wav", captions=("x", "y"), extra={"k": "v"}) for n in range(99)
    ]
    write_manifest(folder / "r.parquet", rows)
    assert list(read_rows(folder / "r.parquet", beside=folder / "new.parquet")) == [
        replace(one, path=str(Path(one.path))) for one in rows
    ]
    for beside in ("", tmp_path / "new.parquet"):
        for one, read in zip(rows, read_rows(folder / "r.parquet", beside=beside), strict=True):
            assert read.path == str(folder / one.path)
            assert read.audio == str(folder / "a/b.wav")
            assert read.targets == {kind: str(folder / file) for kind, file in one.targets.items()}
            same = {"path": "", "audio": "", "targets": {}}
            assert replace(read, **same) == replace(one, **same)
    above = next(read_rows(folder / "r.parquet", beside=folder.parent / "new.parquet"))
    assert above.path == f"{folder.name}/{rows[0].path}"


def test_a_row_that_cannot_be_written_is_named_and_nothing_is_left(folder):
    def rows():
        yield from (row(number) for number in range(9000))
        yield replace(row(1), width="wide")

    with pytest.raises(DataError, match="column width"):
        write_manifest(folder / "w.parquet", rows())
    assert not [file for file in folder.iterdir() if "w.parquet" in file.name]
