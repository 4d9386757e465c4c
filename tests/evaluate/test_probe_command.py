"""`ivn evaluate` and `ivn predict` on real clips, beside baselines, by the command line."""

import csv
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from ivn.media.source import BUNDLED_CLIPS
from ivn.model.encoder import build_encoder
from tests.command import assert_one_line, command
from tests.evaluate.commanded import SIGNS, SMALL, classify, labelled, result, write_list
from tests.frozen.test_networks import saved_images

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("own_cache")


def test_real_clips_are_told_apart_and_predicted_as_they_were(clips, tmp_path):
    out = tmp_path / "out"
    found = result(classify(clips, "--folds", "3", "--out", out, encoder=SMALL))
    assert found == json.loads((out / "result.json").read_text())
    assert (found["format"], found["task"], found["n"], found["groups"]) == (1, "classify", 13, 13)
    assert found["classes"] == ["face", "sign"] and found["chance"] == 0.5
    assert found["majority"] == pytest.approx(8 / 13)
    assert [(row["encoder"], row["head"]) for row in found["rows"]] == [
        *[("stage1-tiny", "linear"), ("stage1-tiny", "knn"), ("raw", "linear"), ("raw", "knn")]
    ]
    assert [row["baseline"] for row in found["rows"]] == [False, False, True, True]
    for row in found["rows"]:
        share = row["top1"]
        assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1
        assert row["top5"] is None and "lr" in row and "wd" in row
    assert sum(map(sum, found["confusion"])) == 13
    rows = list(csv.reader((out / "confusion.csv").read_text().splitlines()))
    assert rows[0] == ["true \\ predicted", "face", "sign"]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == found["confusion"]
    told = command("predict", *[BUNDLED_CLIPS / name for name in SIGNS], "--head", out)
    assert told[0] == 0 and told[2] == ""
    right = sum(": sign " in line.partition(",")[0] for line in told[1].splitlines())
    assert right == 8


@pytest.mark.parametrize("head", ["linear", "knn", "attentive"])
def test_predictions_are_those_that_were_judged(head, clips, tmp_path):
    from ivn.data.manifest.listing import list_clips
    from ivn.evaluate.heads import file as headfile
    from ivn.evaluate.heads.training import Training
    from ivn.evaluate.tasks.classify.task import classify
    from ivn.load import load_frozen

    found = classify(
        [load_frozen("stage1-tiny", frames=4, size=56)],
        list_clips(clips),
        heads=[head],
        holdout=True,
        clips=2,
        crops=3,
        folds=3,
        training=Training(2, 20),
        lr=[1e-3],
        wd=[0.1],
        cache=tmp_path / "cache",
    )
    saved = headfile.save(found.heads[0], tmp_path / "heads", facts=found.facts)
    told = command("predict", *[s.path for s in found.tested], "--head", saved, "--json")
    assert (told[0], told[2]) == (0, "")
    for row, probabilities in zip(json.loads(told[1]), found.predicted[0], strict=True):
        expected = dict(zip(found.facts["classes"], probabilities.tolist(), strict=True))
        assert row["classes"] == pytest.approx(expected, abs=1e-5)
        assert list(row["classes"].values()) == sorted(row["classes"].values(), reverse=True)


def test_a_run_stands_beside_its_random_twin_and_keeps_its_results(run, patterns, tmp_path):
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    say = ["--encoder", run]
    found = result(classify(data, "--heads", "knn", encoder=say))
    names = [row["encoder"] for row in found["rows"]]
    assert names == [str(run), f"{run}, random weights", "raw"]
    identities = [one["identity"] for one in found["encoders"]]
    assert len(set(identities)) == 3
    from ivn.config.run import read
    from ivn.data.batch import ClipSpec
    from ivn.frozen.encoders import FrozenEncoder

    config = read(run / "config.toml")
    twin = build_encoder(config.model.encoder, seed=config.data.seed)
    assert identities[1] == FrozenEncoder("twin", twin, ClipSpec(2, 28)).identity
    result(classify(data, "--heads", "knn", encoder=say))
    result(command("evaluate", "retrieve", *say, "--data", data))
    kept = sorted(path.parent.name for path in (run / "probes").glob("*/result.json"))
    assert kept == ["classify", "classify-2", "retrieve"]


def test_a_head_is_for_the_encoder_that_it_was_fitted_to(run, patterns, tmp_path):
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    result(classify(data, "--heads", "linear", "--holdout", encoder=["--encoder", run]))
    video, head = patterns / "0.mkv", run / "probes" / "classify"
    code, said, err = command("predict", video, "--head", head)
    assert (code, err) == (0, "") and said.startswith(f"{video}: ")
    moved = shutil.copytree(run, tmp_path / "moved")
    weights = next(moved.glob("checkpoints/*/encoder.safetensors"))
    assert command("predict", video, "--head", head, "--encoder", moved)[1] == said
    state = load_file(weights)
    state["pos_embed"] += 1
    save_file(state, weights)
    other = command("predict", video, "--head", head, "--encoder", moved)
    assert assert_one_line(other, "has other weights", "--encoder") == 1
    other = command("predict", video, "--head", head, "--encoder", "raw")
    assert assert_one_line(other, "192 features of a token", "raw has 12") == 1
    (card,) = head.glob("heads/*.json")
    card.write_text(card.read_text().replace('"linear"', '"attentive"'))
    assert assert_one_line(command("predict", video, "--head", head), "not a head as it was") == 1
    (file,) = head.glob("heads/*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert assert_one_line(command("predict", video, "--head", file), "is not the file that") == 1


@pytest.mark.parametrize("pool", ["attn", "cls"])
def test_baselines_stay_where_they_lack_the_features(pool, run, patterns, tmp_path):
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    for task in (["classify", "--heads", "knn"], ["retrieve"]):
        said = command("evaluate", *task, "--encoder", run, "--data", data, "--pool", pool)
        rows = [(row["encoder"], row["pool"]) for row in result(said)["rows"]]
        assert rows == [(str(run), pool), (f"{run}, random weights", pool), ("raw", "mean")]
        assert "raw (mean)" in said[1]


def test_a_network_of_another_library_stands_beside_its_random_twin(
    patterns, tmp_path, monkeypatch
):
    saved_images("vit", tmp_path / "vit")
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    monkeypatch.chdir(tmp_path)
    say = ["--encoder", "hf:vit", "--frames", "2"]
    head = ["--heads", "knn", "--holdout"]
    # transformers shows its progress on the error output.
    code, said, _ = classify(data, *head, "--out", "out", encoder=say)
    assert code == 0
    found = json.loads(said.splitlines()[-1])
    assert [row["encoder"] for row in found["rows"]] == ["hf:vit", "hf:vit@random", "raw"]
    assert [row["baseline"] for row in found["rows"]] == [False, True, True]
    assert len({one["identity"] for one in found["encoders"]}) == 3
    assert {(one["frames"], one["size"]) for one in found["encoders"]} == {(2, 32)}
    both = ["--encoder", "hf:vit", "hf:vit@random", "--frames", "2"]
    code, said, _ = classify(data, *head, "--out", "twin", encoder=both)
    assert code == 0
    found = json.loads(said.splitlines()[-1])
    assert [(row["encoder"], row["baseline"]) for row in found["rows"]] == [
        ("hf:vit", False),
        ("hf:vit@random", False),
        ("raw", True),
    ]
    # The name of a folder means the same elsewhere.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, said, _ = command("predict", patterns / "0.mkv", "--head", tmp_path / "out")
    assert code == 0 and said.startswith(str(patterns / "0.mkv"))
    (twin,) = (tmp_path / "twin" / "heads").glob("*random*.safetensors")
    assert command("predict", patterns / "0.mkv", "--head", twin)[0] == 0


def test_weights_that_are_not_finite_are_told(run, patterns, tmp_path):
    weights = next(run.glob("checkpoints/*/encoder.safetensors"))
    state = load_file(weights)
    state["blocks.0.mlp.fc2.bias"][0] = float("nan")
    save_file(state, weights)
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    said = classify(data, encoder=["--encoder", run])
    assert assert_one_line(said, str(weights), "blocks.0.mlp.fc2.bias is not finite") == 1


def test_videos_that_cannot_be_predicted_are_told_and_the_others_too(patterns, tmp_path):
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    result(classify(data, "--heads", "knn", "--holdout", "--out", tmp_path / "out"))
    (tmp_path / "broken.mkv").write_text("no video")
    videos = [tmp_path / "broken.mkv", patterns / "1.mkv"]
    code, said, err = command("predict", *videos, "--head", tmp_path / "out", "--top", "1")
    assert code == 1 and err.count("\n") == 1 and "broken.mkv" in err
    assert said.count("\n") == 1 and said.count("%") == 1


def test_hostile_names_of_classes_are_only_names(patterns, tmp_path):
    names = ("[red]a[/red]", '../../b, "c"')
    data = write_list(tmp_path / "l.csv", labelled(patterns, lambda number: names[number % 2]))
    code, said, _ = classify(data, "--heads", "knn", "--out", tmp_path / "out")
    assert code == 0 and "[red]a[/red]" in said.splitlines()[-3] + said.splitlines()[-4]
    rows = list(csv.reader((tmp_path / "out" / "confusion.csv").read_text().splitlines()))
    assert rows[0][1:] == sorted(names)


@pytest.mark.parametrize(
    ("task", "where"),
    [
        (("classify", "--heads", "linear"), "ivn.evaluate.features.extract._compute"),
        (("classify", "--heads", "linear"), "ivn.evaluate.heads.search.train"),
        (("retrieve",), "ivn.evaluate.features.extract._compute"),
        (("motion",), "ivn.evaluate.tasks.motion.task.predict_held_out"),
    ],
)
def test_ctrl_c_is_one_line_and_leaves_nothing(task, where, patterns, tmp_path, monkeypatch):
    def stop(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, stop)
    data, out = write_list(tmp_path / "l.csv", labelled(patterns)), tmp_path / "out"
    more = ("--encoder", "raw", "--frames", "2", "--size", "8", "--cache", tmp_path / "c")
    said = command("evaluate", *task, *more, "--data", data, "--out", out)
    assert assert_one_line(said, "ivn: interrupted") == 130
    assert not out.exists() and not [*tmp_path.glob("c/**/.*")]
