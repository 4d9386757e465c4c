"""The page, as a browser has it: everything is drawn, nothing is asked for, no name is run."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("av")
pytest.importorskip("efficientnet_lite_pytorch")

from ivn.media.source import BUNDLED_CLIPS
from ivn.report.collect.collect import gather
from ivn.report.page.content import Content, Run, RunLog
from ivn.report.page.page import render
from ivn.report.page.probes import probe
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


def test_films_play_together_stop_and_follow_the_slider(browser, both):
    moved = "[...document.querySelectorAll('.film[data-frames] img')].map(i => i.style.transform)"
    with opened(browser, both) as (page, _):
        button, slider = page.locator("#play"), page.locator("#when")
        assert button.inner_text() == "Pause"
        page.wait_for_timeout(800)
        (share,) = set(page.evaluate(moved))
        assert share.startswith("translateX(")
        button.focus()
        page.keyboard.press("Enter")
        assert button.inner_text() == "Play"
        slider.focus()
        page.keyboard.press("End")
        # Four frames: the last is shown.
        assert set(page.evaluate(moved)) == {"translateX(-75%)"}
        page.keyboard.press("Home")
        assert set(page.evaluate(moved)) == {"translateX(0%)"}
    with opened(browser, both, reduced_motion="reduce") as (page, _):
        assert page.locator("#play").inner_text() == "Play"


def test_charts_tell_values_to_keys_and_change_their_scale(browser, both):
    with opened(browser, both) as (page, _):
        chart = page.locator(".chart", has_text="learning rate")
        chart.locator("svg").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        logged = [
            json.loads((both.parent / run / "log.jsonl").read_text().splitlines()[1])["lr"]
            for run in ("one", "two")
        ]
        said = chart.locator(".value").inner_text()
        assert said == f"step 2: one {logged[0]:g}, two {logged[1]:.2e}".replace("e-0", "e-")
        both_scales = page.locator("svg.both").first
        assert both_scales.locator("g.lin").is_visible()
        page.get_by_label("logarithmic").check()
        assert both_scales.locator("g.log").is_visible()
        assert not both_scales.locator("g.lin").is_visible()


def test_the_theme_changes_when_asked(browser, both):
    paper = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, both, scheme="dark") as (page, _):
        before = page.evaluate(paper)
        assert page.locator("#theme").inner_text() == "Light"
        page.locator("#theme").click()
        assert page.evaluate(paper) != before and page.locator("#theme").inner_text() == "Dark"


def test_without_scripts_everything_is_there(browser, both):
    with opened(browser, both, java_script_enabled=False) as (page, _):
        assert page.locator("svg[data-chart] path.curve").first.is_visible()
        assert not page.locator("#play").is_visible()


def test_a_page_is_a_few_hundred_kilobytes(both):
    assert both.stat().st_size < 2**20


@pytest.fixture(scope="module")
def alike(trained, tmp_path_factory):
    """What is drawn of runs, starts and clips that have the same names, two of each."""
    place = tmp_path_factory.mktemp("alike")
    for seed, name in enumerate(("e1", "e2")):
        shutil.copytree(trained / "one", place / name / "stage1")
        shutil.copytree(trained / "two", place / name / "stage2")
        source = {"data": "", "init": str(place / name / "stage1")}
        (place / name / "stage2" / "run.json").write_text(json.dumps(source))
        for file in place.glob(f"{name}/stage1/checkpoints/*/encoder.safetensors"):
            state = load_file(file)
            draw = torch.Generator().manual_seed(seed)
            noise = {key: torch.randn(value.shape, generator=draw) for key, value in state.items()}
            save_file({key: state[key] + noise[key] for key in state}, file)
    for number, name in enumerate(FILES):
        file = place / "clips" / f"class{number}" / "0001.mp4"
        file.parent.mkdir(parents=True)
        shutil.copy(BUNDLED_CLIPS / name, file)
    runs = [place / name / "stage2" for name in ("e1", "e2")]
    return gather(runs, clips=str(place / "clips"))


def test_runs_and_their_starts_of_one_name_are_told_apart(alike):
    assert [run.name for run in alike.runs] == ["e1/stage2", "e2/stage2"]
    rows = {row.encoder: row.nearest for row in alike.pictures.gallery.neighbours}
    starts = [f"stage 1, {name}/stage1" for name in ("e1", "e2")]
    assert (
        len(rows) == len(alike.pictures.gallery.neighbours) and rows[starts[0]] != rows[starts[1]]
    )
    for strip in alike.pictures.features:
        films = {film.label: film.pixels for film in strip.films}
        assert len(films) == len(strip.films)
        assert (films[starts[0]] != films[starts[1]]).any()


def test_clips_of_one_name_have_their_own_films(alike):
    assert alike.pictures.gallery.names == [
        f"class{number}/0001.mp4" for number in range(len(FILES))
    ]
    shown = [strip.title for strip in alike.pictures.features]
    assert shown == [alike.pictures.gallery.names[i] for i in (0, 1, 2)]
    kinds = [[film.label for film in strip.films] for strip in alike.pictures.features]
    assert all(labels == kinds[0] and len(set(labels)) == len(labels) for labels in kinds)


def test_without_a_browser_ci_fails_and_others_skip(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    for required, outcome in (("1", pytest.fail.Exception), ("", pytest.skip.Exception)):
        monkeypatch.setenv("IVN_REQUIRE_CHROMIUM", required)
        with pytest.raises(outcome, match="no chromium: apt-get install chromium"), chromium():
            pass


def test_results_say_which_head_their_tables_are_about_and_have_no_empty_column():
    rows = [{**RESULT["rows"][1], "top1": share, "top5": None} for share in (0.5, 0.25)]
    of = {"confusion_of": {"encoder": "a", "head": "knn"}, "per_class_of": {"head": "b"}}
    page = str(probe("run", "classify", {**RESULT, **of, "rows": rows}))
    assert "Confusion matrix, 2 classes, by knn on a<" in page and "Each of 1 classes<" in page
    assert ">top-1<" in page and ">top-5<" not in page
    assert "2 clips x 3 crops of each video" in page


def test_bars_on_a_terminal_tell_how_far_a_report_is(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    code, out, err = command("report", trained / "one", "-o", tmp_path / "page.html")
    assert code == 0 and out.endswith(f"report: {tmp_path / 'page.html'}\n")
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    for counted in ("clips 4/4", "masks 3/3", "reconstructions of one 3/3", "networks 3/3"):
        assert counted in drawn


def test_unusable_files_and_warnings_of_a_log_are_counted_in_words():
    log = RunLog({}, 2, 0, [(2, "careful")], {("a.mp4", "no frame"): 1, ("b.mp4", "empty"): 3})
    page = render(Content([Run("run", log=log)]))
    for words in (
        "1 warning<",
        "2 unusable files replaced",
        "no frame (1 time)",
        "empty (3 times)",
    ):
        assert words in page


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


RESULT = {
    "task": "classify",
    "classes": [HOSTILE, "walk"],
    "n": 20,
    "groups": 7,
    "chance": 0.5,
    "majority": 0.55,
    "views": {"clips": 2, "crops": 3},
    "rows": [
        {
            "encoder": LABEL,
            "head": "attentive",
            "top1": {"value": 0.75, "low": 0.62, "high": 0.87},
            "top5": {"value": 0.999},
            "lr": 0.01,
            "wd": 0.1,
        },
        {"encoder": "raw", "head": "linear", "top1": 0.5, "top5": None},
    ],
    "confusion": [[8, 2], [3, 7]],
    "per_class": [{"class": HOSTILE, "n": 10, "top1": 0.8}],
}
# What no probe has written, and a page has to live with.
ODD = {"task": 7, "rows": [{"top1": "<b>", "lr": "x"}, 3], "confusion": [[1], "x"], "n": 10**400}


@pytest.fixture(scope="module")
def broken(trained, tmp_path_factory):
    """The page of runs that each lack something, and what the command says of them."""
    place = tmp_path_factory.mktemp("broken")

    def copied(name, source):
        run = place / name
        shutil.copytree(trained / source, run)
        return run

    def edit(file, change):
        text = file.read_text()
        assert change(text) != text
        file.write_text(change(text))

    (place / "broken.mp4").write_bytes(b"no video")
    lines = ["broken.mp4", *(str(BUNDLED_CLIPS / name) for name in FILES)]
    (place / "list.csv").write_text("\n".join(["path", *lines]))
    killed = copied("killed", "one")
    shutil.rmtree(killed / "checkpoints")
    (killed / "log.jsonl").write_text("")
    (killed / "run.json").write_text(json.dumps({"data": str(place / "list.csv"), "init": ""}))
    torn = copied('torn" onload="alert(2)', "one")
    edit(torn / "log.jsonl", lambda text: text[:-200])
    for file in torn.glob("checkpoints/*/encoder.safetensors"):
        file.write_bytes(file.read_bytes()[:1000])
    orphan = copied("orphan", "two")
    edit(orphan / "run.json", lambda text: text.replace("/one", "/gone"))
    edit(orphan / "config.toml", lambda text: text.replace('"stage2-tiny"', f"'{HOSTILE}'"))
    foreign = copied("foreign", "two")
    edit(foreign / "config.toml", lambda text: f"from_another_version = 1\n{text}")
    odd = copied("odd", "two")
    (odd / "run.json").write_text("[")
    for name, text in {
        "classify": json.dumps(RESULT),
        "odd": json.dumps(ODD),
        "torn": '{"task": ',
        "deep": "[" * 10**5,
    }.items():
        (odd / "probes" / name).mkdir(parents=True)
        (odd / "probes" / name / "result.json").write_text(text)
    (odd / "log.jsonl").write_text(
        '{"step": 1, "loss": 2.0, "terms": 3, "lr": "<b>", "clips_per_s": 1e999}\n'
        '{"step": 2, "loss": null, "replacements": 5}\n'
        f'{{"step": {10**400}}}\n[]\n\n'
    )
    unread = copied("unread", "one")
    gone = f'source = "{place / "siglip"}"\n'
    edit(
        unread / "config.toml",
        lambda text: text.replace("efficientnet", "siglip").replace('source = ""\n', gone),
    )
    file = place / "page.html"
    runs = [killed, torn, orphan, foreign, odd, unread]
    code, out, err = command("report", *runs, "-o", file)
    assert (code, err) == (0, ""), err
    return file, [line for line in out.splitlines() if line.startswith("missing: ")]


@pytest.mark.parametrize(
    "words",
    [
        ("killed: curves and timing", "log.jsonl is empty"),
        ("killed: weights", "there is no checkpoint"),
        ('torn" onload="alert(2): 1 of 4 lines', "cut off or damaged"),
        ('torn" onload="alert(2): trained weights', "encoder.safetensors cannot be read"),
        ("orphan: the encoder and the teacher that this run started from", "/gone is not there"),
        ("foreign: everything that needs the config", "from_another_version: unknown key"),
        ("odd: data and first weights", "run.json cannot be read"),
        ("odd: probe torn", "result.json cannot be read"),
        ("odd: probe deep", "result.json cannot be read"),
        ("odd: 3 of 5 lines of the log",),
        ("unread: masks", "the stage cannot be built here", "siglip"),
        ("clip broken.mp4",),
    ],
)
def test_what_a_run_lacks_is_told(broken, words):
    _, lines = broken
    (line,) = [line for line in lines if line.startswith(f"missing: {words[0]}")]
    assert all(word in line for word in words)


def test_broken_runs_are_shown_with_all_they_have(browser, broken):
    file, lines = broken
    with opened(browser, file, width=390) as (page, seen):
        assert drawn(page) > 40
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        text = page.locator("body").inner_text()
        for shown in (HOSTILE, LABEL, 'torn" onload="alert(2)', "62.0% to 87.0%", "99.9%"):
            assert shown in text
        assert page.locator("article").count() == 6
        told = page.locator(".missing").all_inner_texts()
        for line in lines:
            assert any(line.partition(": ")[2].rpartition(": ")[2] in one for one in told)
        # Killed before its first checkpoint, a run still has its masks.
        assert page.get_by_text("visible · killed").count() == 3
        assert page.get_by_text("stage 2, orphan").count() > 0
    assert seen.requests == [file.as_uri()]
    assert (seen.errors, seen.dialogs) == ([], [])
