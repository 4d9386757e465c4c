"""The page, as a browser has it: everything is drawn, nothing is asked for, no name is run."""

import json
import shutil

import pytest

pytest.importorskip("av")
pytest.importorskip("efficientnet_lite_pytorch")

from ivn.data.source import BUNDLED_CLIPS
from tests.browser import chromium, opened
from tests.command import SMALL, STAGE1, assert_one_line, command

HOSTILE = "<img src=x onerror=alert(1)>.mp4"
LABEL = "\"><script>alert('label')</script>"
FILES = ("asl-book.mp4", "car-detection-1.mp4", "big-buck-bunny.mp4", "nasa.mp4")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Both stages on four real clips, one of which has a name that is markup."""
    place = tmp_path_factory.mktemp("runs")
    rows = ["path,label"]
    for number, name in enumerate(FILES):
        stored = HOSTILE if number == 0 else name
        shutil.copy(BUNDLED_CLIPS / name, place / stored)
        label = LABEL.replace('"', '""')
        rows.append(f'{stored},"{label}"')
    (place / "list.csv").write_text("\n".join(rows))
    common = ["--data", place / "list.csv", "--set", *SMALL]
    for arguments in (
        ["stage1-tiny", "--out", place / "one", *common, *STAGE1],
        ["stage2-tiny", "--out", place / "two", "--init", place / "one", *common],
    ):
        code, _, err = command("pretrain", *arguments)
        assert (code, err) == (0, "")
    return place


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def both(trained):
    """The page of both runs."""
    file = trained / "both.html"
    code, _, err = command("report", trained / "one", trained / "two", "-o", file)
    assert (code, err) == (0, "")
    return file


def drawn(page):
    """How many images there are, all of them drawn."""
    page.evaluate("Promise.all([...document.images].map(i => i.decode()))")
    sizes = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.alt])")
    assert all(width > 0 and alt for width, alt in sizes)
    return len(sizes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everything_is_drawn_and_nothing_is_asked_for(browser, both, scheme, width):
    with opened(browser, both, width=width, scheme=scheme) as (page, seen):
        assert drawn(page) > 60
        assert page.locator("svg[data-chart]").count() > 10
        assert page.evaluate("document.documentElement.scrollWidth") == width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        dark = sum(int(part) for part in paper[4:-1].split(",")) < 3 * 64
        assert dark == (scheme == "dark")
    assert seen.requests == [both.as_uri()]
    assert (seen.errors, seen.dialogs) == ([], [])


def test_names_are_shown_and_not_run(browser, both):
    with opened(browser, both) as (page, seen):
        titles = page.locator(".strip h3").all_inner_texts()
        assert f"{HOSTILE} ({LABEL})" in titles
        assert page.locator("script").count() == 1 and page.locator("img[src=x]").count() == 0
    assert (seen.errors, seen.dialogs) == ([], [])


def test_a_page_is_a_few_hundred_kilobytes(both):
    assert both.stat().st_size < 2**20


def test_a_folder_that_is_no_run_is_one_line(tmp_path, trained):
    said = command("report", trained / "one", tmp_path)
    assert assert_one_line(said, f"{tmp_path} holds no run: expected config.toml in it") == 1


def test_only_a_page_of_ours_is_replaced(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained / "two", run)
    shutil.rmtree(run / "checkpoints")
    (run / "run.json").write_text(json.dumps({"data": "gone", "init": "gone"}))
    assert command("report", run)[0] == 0
    first = (run / "report.html").read_bytes()
    assert command("report", run)[0] == 0
    said = command("report", run, "-o", run / "report.html")
    assert assert_one_line(said, "report.html exists: choose another file with -o") == 1
    assert (run / "report.html").read_bytes() == first
    (run / "report.html").write_text("mine")
    said = command("report", run)
    assert assert_one_line(said, "report.html is no page of ivn report and stays as it is") == 1
    assert (run / "report.html").read_text() == "mine"
