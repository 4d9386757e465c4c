"""`ivn probe` and `ivn predict` on real clips and through every trap, by the command line."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ivn.config import override, to_toml
from ivn.data.source import BUNDLED_CLIPS
from ivn.model.encoder import build_encoder
from ivn.presets import PRESETS
from tests.command import assert_one_line, command
from tests.data.videos import write_video

from .test_frozen_networks import saved_images

pytest.importorskip("av")
SIGNS = sorted(path.name for path in BUNDLED_CLIPS.glob("asl-*.mp4"))
PEOPLE = sorted(path.name for path in BUNDLED_CLIPS.glob("*face*.mp4"))
SMALL = ["--encoder", "stage1-tiny", "--frames", "4", "--size", "56"]
RAW = ["--encoder", "raw", "--frames", "2", "--size", "16"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Features of these tests: shared by them, and nobody else's."""
    place = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    monkeypatch.setenv("COLUMNS", "100")
    return place


def write_list(path, rows, columns=("path", "label", "group")):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(rows)
    return path


def bundled(names, label):
    return [(BUNDLED_CLIPS / name, label, "") for name in names]


@pytest.fixture
def clips(tmp_path):
    """Eight signs and five faces; labels are true."""
    return write_list(tmp_path / "list.csv", bundled(SIGNS, "sign") + bundled(PEOPLE, "face"))


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    """Twenty small videos of a few KB, each with colours of its own."""
    folder = tmp_path_factory.mktemp("patterns")
    random = np.random.default_rng(0)
    for number in range(20):
        tiles = random.integers(0, 256, (4, 4, 3)).repeat(6, 0).repeat(6, 1)
        frames = np.stack([tiles.clip(0, 255)] * 20).astype(np.uint8)
        write_video(folder / f"{number}.mkv", frames)
    return folder


def labelled(patterns, label=lambda number: "ab"[number % 2], count=20):
    return [(patterns / f"{number}.mkv", label(number), "") for number in range(count)]


def classify(data, *more, encoder=RAW):
    return command("probe", "classify", *encoder, "--data", data, *more)


def result(said):
    code, out, err = said
    assert (code, err) == (0, ""), err
    return json.loads(out.splitlines()[-1])


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
    assert rows[0][1:] == ["face", "sign"]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == found["confusion"]
    told = command("predict", *[BUNDLED_CLIPS / name for name in SIGNS], "--head", out)
    assert told[0] == 0 and told[2] == ""
    right = sum(": sign " in line.partition(",")[0] for line in told[1].splitlines())
    assert right == 8


@pytest.mark.parametrize("head", ["linear", "knn", "attentive"])
def test_predictions_are_those_that_were_judged(head, clips, tmp_path):
    from ivn.data.source import list_clips
    from ivn.load import load_frozen
    from ivn.probe import headfile
    from ivn.probe.classify import classify
    from ivn.probe.train import Training

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
    for row, probabilities in zip(json.loads(told[1]), found.told[0], strict=True):
        expected = dict(zip(found.facts["classes"], probabilities.tolist(), strict=True))
        assert row["classes"] == pytest.approx(expected, abs=1e-5)
        assert list(row["classes"].values()) == sorted(row["classes"].values(), reverse=True)


def copied(patterns, folder, number):
    return shutil.copy(patterns / f"{number}.mkv", folder / f"copy {number}.mkv"), "", 0, -1


def linked(patterns, folder, number):
    os.symlink(patterns / f"{number}.mkv", folder / f"link {number}.mkv")
    return folder / f"link {number}.mkv", "", 0, -1


def windowed(patterns, folder, number):
    return patterns / f"{number}.mkv", "", 0.5, 1.5


def grouped(patterns, folder, number):
    """Other bytes of the same look, as a re-encoded copy has."""
    whole = (patterns / f"{number}.mkv").read_bytes()
    (folder / f"other {number}.mkv").write_bytes(whole + b"\0")
    return folder / f"other {number}.mkv", f"film {number}", 0, -1


@pytest.mark.parametrize("twin", [copied, linked, windowed, grouped])
def test_no_split_parts_a_video_from_its_twin(twin, patterns, tmp_path):
    # Labels are drawn: whoever sees a twin in training gets all right, all others guess.
    words = np.random.default_rng(1).permuted(["a", "b"] * 10)
    rows = []
    for number in range(20):
        path, group, start, end = twin(patterns, tmp_path, number)
        rows.append((patterns / f"{number}.mkv", words[number], group, 0, -1))
        rows.append((path, words[number], group, start, end))
    data = write_list(tmp_path / "l.csv", rows, ("path", "label", "group", "start", "end"))
    for more in (["--folds", "5"], ["--folds", "4", "--holdout"]):
        found = result(classify(data, "--heads", "knn", *more))
        assert found["split"]["groups"] == 20
        assert found["rows"][0]["top1"]["value"] < 0.7
    lists = [
        write_list(
            tmp_path / f"{side}.csv", rows[side::2], ("path", "label", "group", "start", "end")
        )
        for side in (0, 1)
    ]
    code = assert_one_line(
        classify(lists[0], "--test", lists[1]), "20 of 20 test videos belong", "keep what belongs"
    )
    assert code == 1
    found = result(command("probe", "retrieve", *RAW, "--data", data))
    assert found["rows"][0]["recall1"]["value"] < 0.7


def test_a_twin_that_nothing_tells_of_would_be_found(patterns, tmp_path):
    words = np.random.default_rng(1).permuted(["a", "b"] * 10)
    rows = []
    for number in range(20):
        path, *_ = grouped(patterns, tmp_path, number)
        rows += [(patterns / f"{number}.mkv", words[number], ""), (path, words[number], "")]
    found = result(classify(write_list(tmp_path / "l.csv", rows), "--heads", "knn"))
    # A fifth of the twins lie in the fold that is held out.
    assert found["rows"][0]["top1"]["value"] > 0.85


def test_a_test_list_is_judged_by_heads_of_the_other(patterns, tmp_path):
    rows = labelled(patterns)
    train, test = (
        write_list(tmp_path / f"{name}.csv", part)
        for name, part in (("train", rows[:14]), ("test", rows[14:]))
    )
    found = result(classify(train, "--test", test, "--heads", "knn", "--crops", "3"))
    assert (found["n"], found["split"]["kind"]) == (6, "test list")
    assert (found["split"]["train"], found["split"]["test"]) == ([14], [6])


def wrong_lists(patterns, tmp_path):
    """Name of what is wrong -> lists to train and, maybe, to test on, options, words."""
    rows = labelled(patterns)
    plain = [row[:1] for row in rows]
    one = labelled(patterns, lambda number: "a")
    few = [(path, label, f"g{number % 3}") for number, (path, label, _) in enumerate(rows)]
    lonely = [*rows[:12], (rows[12][0], "c", "g"), (rows[13][0], "c", "g")]
    return {
        "no labels": (plain, None, [], ["none of 20 training videos", "no labels at all"]),
        "unknown label": (rows, None, ["--label", "verb"], ["label 'verb': they have 'label'"]),
        "one class": (one, None, [], ["all 20 videos are of the class 'a'", "two classes"]),
        "fewer groups than folds": (few, None, [], ["3 groups", "at least 5", "--folds"]),
        "a class in one group": (lonely, None, [], ["class 'c' has usable videos in 1 group"]),
        "one fold": (rows, None, ["--folds", "1"], ["1 folds, expected at least 2"]),
        "unknown class": (
            rows[:10],
            [(rows[11][0], "zebra", ""), (rows[12][0], "a", "")],
            [],
            ["1 classes of 'label' that no training video has: 'zebra'"],
        ),
        "unlabelled test": (rows[:10], plain[10:], [], ["none of 10 test videos has the label"]),
        "unknown head": (rows, None, ["--heads", "linaer"], ["no head 'linaer'", "attentive4"]),
        "no head": (rows, None, ["--heads", ","], ["no heads, expected some of"]),
        "no pool": (rows, None, ["--pool", "attn"], ["raw has no features 'attn'"]),
        "no view": (rows, None, ["--clips", "0"], ["0 clips x 1 crops: expected at least 1"]),
        "no training view": (rows, None, ["--train-views", "0"], ["0 training views"]),
        "no epoch": (rows, None, ["--epochs", "0"], ["0 epochs"]),
        "no worker": (rows, None, ["--workers", "0"], ["0 workers"]),
        "negative rate": (rows, None, ["--lr", "-1"], ["lr [-1.0]"]),
        "no gpu": (rows, None, ["--device", "cuda"], ["PyTorch sees no GPU"]),
    }


@pytest.mark.parametrize("which", wrong_lists(BUNDLED_CLIPS, None))
def test_wrong_input_is_one_line(which, patterns, tmp_path):
    if which == "no gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    train, test, more, words = wrong_lists(patterns, tmp_path)[which]
    columns = ("path", "label", "group")
    data = write_list(tmp_path / "train.csv", train, columns[: len(train[0])])
    if test is not None:
        more = [*more, "--test", write_list(tmp_path / "test.csv", test, columns[: len(test[0])])]
    assert assert_one_line(classify(data, *more), *words) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["classify", "--data", "x"], ["give --encoder E"]),
        (["classify", "--encoder", "raw"], ["give --data"]),
        (["retrieve", "--encoder", "raw"], ["give --data"]),
        (["retrieve", "--encoder", "raw", "--data", "x", "--folds", "3"], ["no use for --folds"]),
        (["motion", "--encoder", "raw", "--train-views", "3"], ["no use for --train-views"]),
        (["motion", "--encoder", "raw", "--crops", "3"], ["no use for --crops"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, words):
    assert assert_one_line(command("probe", *arguments), *words) == 2


def test_what_is_not_there_is_one_line(clips, tmp_path):
    assert assert_one_line(classify(tmp_path / "no.csv"), "no such file") == 1
    assert assert_one_line(classify(clips, encoder=["--encoder", "nothing"]), "no encoder") == 1
    assert assert_one_line(command("predict", "x.mp4"), "--head") == 2
    assert assert_one_line(command("predict", "x.mp4", "--head", tmp_path), "no head in") == 1
    assert assert_one_line(command("predict", "x", "--head", tmp_path / "h"), "no head at") == 1


def test_broken_videos_are_named_and_left_out_of_the_split(patterns, tmp_path):
    (tmp_path / "broken.mkv").write_text("no video")
    rows = [*labelled(patterns), (tmp_path / "broken.mkv", "a", "")]
    out = tmp_path / "out"
    code, said, err = classify(write_list(tmp_path / "l.csv", rows), "--heads", "knn", "--out", out)
    assert code == 0 and err.count("\n") == 1 and "skipped: " in err and "broken.mkv" in err
    found = json.loads((out / "result.json").read_text())
    assert found["n"] == 20 and found["skipped"][0]["path"].endswith("broken.mkv")
    assert "1 videos could not be used" in said
    assert_one_line(classify(write_list(tmp_path / "l.csv", rows), "--out", out), "holds a result")
    # The other video of its class was all there was.
    rows = [*labelled(patterns, count=10), (rows[11][0], "c", ""), (rows[-1][0], "c", "")]
    said = classify(write_list(tmp_path / "m.csv", rows), "--heads", "knn")
    assert assert_one_line(said, "class 'c' has usable videos in 1 group") == 1


@pytest.fixture
def run(tmp_path):
    """What a run of ``stage1-tiny`` leaves, with weights far from those that its seed gives."""
    place = tmp_path / "run"
    checkpoint = place / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    sizes = (
        "model.encoder.depth=1",
        "model.encoder.image_height=28",
        "model.encoder.image_width=28",
    )
    config = override(PRESETS["stage1-tiny"](), *sizes, "model.encoder.num_frames=2")
    (place / "config.toml").write_text(to_toml(config))
    encoder = build_encoder(config.model.encoder, seed=77)
    save_file(encoder.state_dict(), checkpoint / "encoder.safetensors")
    sizes = {"img_size": 28, "num_frames": 2, "num_heads": 3, "attn_pool_num_heads": 4}
    (checkpoint / "config.json").write_text(json.dumps({"model_config": sizes}))
    return place


def test_a_run_stands_beside_its_random_twin_and_keeps_its_results(run, patterns, tmp_path):
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    say = ["--encoder", run]
    found = result(classify(data, "--heads", "knn", encoder=say))
    names = [row["encoder"] for row in found["rows"]]
    assert names == [str(run), f"{run}, random weights", "raw"]
    identities = [one["identity"] for one in found["encoders"]]
    assert len(set(identities)) == 3
    from ivn.config import read
    from ivn.data.clip import ClipSpec
    from ivn.probe.frozen import FrozenEncoder

    config = read(run / "config.toml")
    twin = build_encoder(config.model.encoder, seed=config.data.seed)
    assert identities[1] == FrozenEncoder("twin", twin, ClipSpec(2, 28)).identity
    result(classify(data, "--heads", "knn", encoder=say))
    result(command("probe", "retrieve", *say, "--data", data))
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
        said = command("probe", *task, "--encoder", run, "--data", data, "--pool", pool)
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


def test_raw_is_no_folder(patterns, tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    monkeypatch.chdir(tmp_path)
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    result(classify(data, "--heads", "knn", "--holdout", "--out", "out"))
    assert command("predict", patterns / "0.mkv", "--head", "out")[0] == 0


def test_a_card_that_lacks_something_is_one_line(patterns, tmp_path):
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    out = tmp_path / "out"
    result(classify(data, "--heads", "knn", "--holdout", "--out", out))
    (file,) = out.glob("heads/*.json")
    whole = json.loads(file.read_text())
    for change, word in (
        ({"encoder": None}, "'encoder'"),
        ({"pool": None}, "'pool'"),
        ({"label": None}, "'label'"),
        ({"encoder": {"name": "raw"}}, "'identity'"),
        ({"encoder": "raw"}, "not a head as it was"),
        ({"pool": "max"}, "pool"),
        ({"pool": "attn"}, "raw has none, frames, mean"),
        ({"label": 3}, "label"),
        ({"classes": [1, 2]}, "classes"),
    ):
        card = whole | change
        kept = {name: value for name, value in card.items() if value is not None}
        file.write_text(json.dumps(kept))
        said = command("predict", patterns / "0.mkv", "--head", out)
        assert assert_one_line(said, word) == 1


def test_weights_that_are_not_finite_are_told(run, patterns, tmp_path):
    weights = next(run.glob("checkpoints/*/encoder.safetensors"))
    state = load_file(weights)
    state["blocks.0.mlp.fc2.bias"][0] = float("nan")
    save_file(state, weights)
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    said = classify(data, encoder=["--encoder", run])
    assert assert_one_line(said, "its features of", "are not finite") == 1


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
