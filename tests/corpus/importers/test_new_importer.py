"""An importer that nothing of ivn has heard of, in one file, works in the command."""

from unittest import mock

import pytest

from ivn.corpus.importers.importer import IMPORTERS, importer
from ivn.corpus.importers.segments import Span, row_of
from ivn.corpus.importers.text import read_table, seconds
from ivn.data.manifest.parquet import read_rows
from tests.command import assert_one_line, command
from tests.corpus.importers.published import given

pytest.importorskip("pyarrow")
FILES = {"waves.csv": "film,wave,from\nocean,breaker,1.5\nocean,ripple,4\nlake,ripple,2\n"}
NAMES = ["ocean.mp4"]


def read_waves(files, videos):
    """Yields a row for the second in which a wave begins."""
    for file in files:
        for place, row in read_table(file, ["film", "wave", "from"]):
            start = seconds(place, "from", row["from"])
            if path := videos.find(row["film"]):
                times = Span(start, start + 1)
                yield row_of(path, {"label": row["wave"]}, "waves", row["film"], times)


@pytest.fixture(autouse=True)
def known():
    """The importer is known while a test of this file runs, and to no other."""
    with mock.patch.dict(IMPORTERS):
        importer(
            "waves",
            files="`waves.csv`",
            row="a second",
            labels="`label`",
            group="the film",
            recognises=lambda head: head.columns("film", "wave"),
        )(read_waves)
        yield


def index(folder, *options):
    arguments = (*options, "--videos", folder / "videos", "-o", folder / "m.parquet", "--no-probe")
    return command("data", "index", *arguments)


@pytest.mark.parametrize("name", ["waves", "auto"])
def test_the_command_reads_its_files_by_name_and_recognises_them(tmp_path, tiny, name):
    paths, _ = given(tmp_path, tiny, FILES, NAMES)
    code, out, err = index(tmp_path, *paths, "--format", name)
    assert (code, err) == (0, "")
    assert "1 (lake)" in out
    rows = list(read_rows(tmp_path / "m.parquet"))
    assert [(row.start, row.end, dict(row.labels), row.group) for row in rows] == [
        (1.5, 2.5, {"label": "breaker"}, "ocean"),
        (4.0, 5.0, {"label": "ripple"}, "ocean"),
    ]


def test_a_message_about_formats_names_it(tmp_path, tiny):
    paths, _ = given(tmp_path, tiny, FILES, NAMES)
    assert (
        assert_one_line(index(tmp_path, *paths, "--format", "wave"), "vjepa, waves, youcook2") == 2
    )


def test_files_that_two_importers_recognise_are_told_with_both_names(tmp_path, tiny):
    common = {"files": "", "row": "", "group": ""}
    importer("tides", **common, recognises=lambda head: head.has_columns("wave"))(read_waves)
    paths, _ = given(tmp_path, tiny, FILES, NAMES)
    said = index(tmp_path, *paths, "--format", "auto")
    assert assert_one_line(said, "look alike: give --format waves or tides") == 1
