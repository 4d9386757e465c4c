"""The file that a path means: of a run, of DeepSpeed's folders, of a model in shards."""

import pytest

from ivn.model.checkpoints import checkpoints, newest, weights_file
from ivn.train import checkpoint


def made(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"weights")
    return folder


def test_folders_named_step_and_eight_digits_are_checkpoints_and_nothing_else(tmp_path):
    run, place = tmp_path / "run", tmp_path / "run" / "checkpoints"
    for name in ("step-00000002", "step-00000010"):
        made(place / name, "encoder.safetensors")
    others = ("step-00000010-before", "step-00000010.bak", "step-9", "step-1000000000", "best")
    for name in (*others, ".tmp-step-00000012", "step-0000001x", "copy of step-00000011"):
        made(place / name, "encoder.safetensors")
    made(place, "step-00000011")  # a file
    (place / "step-00000013").symlink_to(place / "gone")
    assert [path.name for path in checkpoints(run)] == ["step-00000002", "step-00000010"]
    assert newest(run) == checkpoint.latest(run) == place / "step-00000010"
    assert weights_file(run, "encoder") == newest(run) / "encoder.safetensors"


def test_of_a_run_nothing_but_its_newest_checkpoint_is_read(tmp_path):
    run = made(tmp_path / "run", "encoder.safetensors", "model.safetensors", "latest")
    made(run / "checkpoints" / "step-00000002", "encoder.safetensors")
    last = made(run / "checkpoints" / "step-00000004")
    with pytest.raises(FileNotFoundError, match="step-00000004 holds none of encoder"):
        weights_file(run, "encoder")
    made(last, "encoder.safetensors")
    assert weights_file(run, "encoder") == last / "encoder.safetensors"


def test_a_checkpoint_may_lie_elsewhere_by_a_link(tmp_path):
    elsewhere = made(tmp_path / "disk" / "kept", "encoder.safetensors")
    place = made(tmp_path / "run" / "checkpoints")
    made(place / "step-00000002", "encoder.safetensors")
    (place / "step-00000004").symlink_to(elsewhere)
    assert newest(tmp_path / "run").name == "step-00000004"


def test_a_folder_without_checkpoints_is_no_run(tmp_path):
    assert newest(tmp_path) is None
    with pytest.raises(FileNotFoundError, match=r"holds none of encoder.safetensors, model.safe"):
        weights_file(tmp_path, "encoder")


DEEPSPEED = "mp_rank_00_model_states.pt"


@pytest.mark.parametrize("tag", ["checkpoint-49", "global_step1200\n", "a b"])
def test_deepspeeds_folder_is_read_through_latest(tmp_path, tag):
    made(tmp_path / "older", DEEPSPEED)
    own = made(tmp_path / tag.strip(), DEEPSPEED)
    (tmp_path / "latest").write_text(tag)
    assert weights_file(tmp_path, "encoder") == own / DEEPSPEED


def test_latest_may_be_a_link_to_a_folder_beside_it(tmp_path):
    own = made(tmp_path / "global_step7", DEEPSPEED)
    (tmp_path / "latest").symlink_to("global_step7")
    assert weights_file(tmp_path, "encoder") == own / DEEPSPEED


@pytest.mark.parametrize("tag", ["../out", "{}/out", "..", ".", "", "inside/deep", "link", "a\0b"])
def test_latest_leads_nowhere_else(tmp_path, tag):
    made(tmp_path / "out", DEEPSPEED)
    root = made(tmp_path / "root")
    made(root / "inside" / "deep", DEEPSPEED)
    (root / "link").symlink_to(tmp_path / "out")
    (root / "latest").write_text(tag.format(tmp_path))
    with pytest.raises(ValueError, match=r"root/latest names .*folder"):
        weights_file(root, "encoder")


def test_latest_names_a_folder_that_is_there(tmp_path):
    (tmp_path / "latest").write_text("global_step3")
    with pytest.raises(FileNotFoundError, match=r"latest names 'global_step3', and .* has no such"):
        weights_file(tmp_path, "encoder")
    (tmp_path / "latest").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="latest names no folder"):
        weights_file(tmp_path, "encoder")


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_whole_weights_go_before_an_index_and_shards_alone_are_called_so(tmp_path, kind):
    stem, _, suffix = kind.rpartition(".")
    made(tmp_path, f"{stem}-00001-of-00002.{suffix}", f"{stem}-00002-of-00002.{suffix}")
    with pytest.raises(FileNotFoundError, match=rf"one shard of several, and no {kind}.index.json"):
        weights_file(tmp_path, "encoder")
    made(tmp_path, f"{kind}.index.json")
    assert weights_file(tmp_path, "encoder").name == f"{kind}.index.json"
    made(tmp_path, kind)
    assert weights_file(tmp_path, "encoder").name == kind
