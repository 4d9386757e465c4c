"""``ivn ablate`` runs the rows that it can, goes on where it was, and says why others are empty."""

import csv
import json

import pytest

from ivn.ablation import run, runs
from ivn.ablation.options import Ablate
from ivn.ablation.paper import table
from ivn.data.manifest.identity import fingerprint
from ivn.data.manifest.listing import list_clips
from ivn.errors import RunError
from ivn.evaluate.heads.training import Training
from ivn.media.source import BUNDLED_CLIPS
from tests.command import assert_one_line, command
from tests.small import SIZES

QUICK = [
    *SIZES,
    "stage.teacher.image_size=128",
    "optim.steps=1",
    "optim.batch_size=2",
    "efficiency.device=cpu",
    "efficiency.workers=0",
]
ROWS = ["Pixel Recon. Baseline", "SigLIP Align only", "Pixel Rec. + Align", "+ Diffusion Decoder"]


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "TRAINING", Training(epochs=1, least_steps=1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    place = tmp_path_factory.mktemp("labelled") / "clips.csv"
    files = sorted(BUNDLED_CLIPS.glob("*.mp4"))[:10]
    with place.open("w", newline="") as file:
        rows = [(path, "ab"[number % 2], number) for number, path in enumerate(files)]
        csv.writer(file).writerows([("path", "label", "unique"), *rows])
    return place


def ablate(table, clips, out, *more, settings=QUICK):
    return command(
        "ablate", table, "--data", clips, "--out", out, "--seeds", 1, *more, "--set", *settings
    )


@pytest.mark.slow
def test_rows_become_runs_probes_and_a_table(clips, tmp_path):
    code, out, err = ablate("1a", clips, tmp_path / "lab")
    assert code == 0, err
    found = json.loads((tmp_path / "lab" / "table-1a.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert [len(rows[name]["scores"]["label"]) for name in ROWS] == [1, 1, 1, 1]
    assert len(rows["random weights"]["scores"]["label"]) == 1
    assert len(rows["raw pixels"]["scores"]["label"]) == 1
    assert "text encoder" in rows["+ Keep Both"]["missing"]
    assert rows["+ Keep Both"]["scores"] == {"label": []}
    table = (tmp_path / "lab" / "table-1a.md").read_text()
    assert table.strip() in out

    # What no fold can judge is left out, and told; the page of a run finds its probes.
    assert "label unique is left out" in out and found["labels"] == ["label"]
    assert len([*tmp_path.glob("lab/runs/*/probes/label/result.json")]) == 4

    # All is there: nothing is trained again, and another table takes the runs that it shares.
    logs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("lab/runs/*/log.jsonl")}
    assert len(logs) == 4
    code, out, err = ablate("1a", clips, tmp_path / "lab")
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in logs} == logs
    assert table.strip() in out

    other = ablate("1a", clips, tmp_path / "lab", settings=[*QUICK, "optim.lr=1e-4"])
    assert assert_one_line(other, "was made with changes") == 1


@pytest.mark.slow
def test_a_row_that_cannot_run_is_told_and_the_rest_goes_on(clips, tmp_path, monkeypatch):
    # Teachers of table 2 come from the hub, whose client would try for minutes to reach it.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, _, _ = ablate("2", clips, tmp_path / "lab")
    assert code == 1
    found = json.loads((tmp_path / "lab" / "table-2.json").read_text())
    assert all(row["missing"] for row in found["rows"] if row["paper"])
    assert len(found["rows"][-1]["scores"]["label"]) == 1  # raw pixels need no teacher


@pytest.mark.parametrize(
    ("more", "settings", "said"),
    [
        (["--seeds", 0], QUICK, "0 seeds, expected at least 1"),
        ([], ["optim.speed=1"], "optim.speed: unknown key"),
        (["--labels", "verb"], QUICK, "'verb'"),
        (["--labels", "unique"], QUICK, "unique"),
    ],
)
def test_what_cannot_work_is_told_before_anything_runs(clips, tmp_path, more, settings, said):
    assert assert_one_line(ablate("1a", clips, tmp_path / "lab", *more, settings=settings), said)
    assert not (tmp_path / "lab").exists()


def test_clips_without_labels_are_refused(tmp_path):
    said = ablate("1a", BUNDLED_CLIPS, tmp_path / "lab")
    assert assert_one_line(said, "no labels to probe") == 1


def test_a_folder_with_something_else_is_left_alone(clips, tmp_path):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "notes.txt").write_text("mine")
    assert assert_one_line(ablate("1a", clips, tmp_path / "lab"), "is not empty") == 1
    assert [path.name for path in (tmp_path / "lab").iterdir()] == ["notes.txt"]


def test_a_damaged_record_is_told(clips, tmp_path):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "ablation.json").write_text("{")
    assert assert_one_line(ablate("1a", clips, tmp_path / "lab"), "ablation.json") == 1


def test_clips_that_were_moved_are_the_same_ablation_and_others_are_not(tmp_path, capsys):
    def noted(place):
        clips = list_clips(place / "list.csv")
        options = Ablate(table="1a", data=str(place / "list.csv"), out=tmp_path / "lab")
        run._record(runs.Lab(options, table("1a", "tiny"), clips, ["label"]))
        return json.loads((tmp_path / "lab" / "ablation.json").read_text())

    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (old / name).touch()
    (old / "list.csv").write_text("path,label,group\na.mp4,x,g\nb.mp4,y,h\n")
    first = noted(old)
    clips = list_clips(old / "list.csv")
    whole = {"fingerprint": fingerprint(clips), "probe": run._whole_labels_digest(clips)}
    older = {name: value for name, value in (first | whole).items() if name != "format"}
    (tmp_path / "lab" / "ablation.json").write_text(json.dumps(older))
    assert noted(old) == first
    old.rename(new)
    capsys.readouterr()
    assert noted(new) == first | {"data": str(new / "list.csv")}
    assert str(new) in capsys.readouterr().out
    text = (new / "list.csv").read_text()
    for change in ("x,g x,h", "a.mp4,x a.mp4,y"):
        (new / "list.csv").write_text(text.replace(*change.split()))
        with pytest.raises(RunError, match="was made with"):
            noted(new)
