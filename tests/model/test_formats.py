"""Weights out of every format they come in, and one line for files that hold none."""

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ivn.model.formats import read_file
from ivn.model.state_dict import read_state

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2), "b": torch.zeros(1)}
LEGACY = {"_use_new_zipfile_serialization": False}


def same(found):
    return found.keys() == STATE.keys() and all(torch.equal(found[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt", "weights"])
def test_the_bytes_tell_the_format_not_the_name(tmp_path, name):
    file = tmp_path / name
    torch.save({"state_dict": {"model": STATE}, "epoch": 3}, file)
    assert same(read_state(file))
    torch.save(STATE, file, **LEGACY)
    assert same(read_state(file))
    save_file(STATE, file)
    assert same(read_state(file))


def sharded(folder, kind="model.safetensors", count=2):
    """STATE in shards with an index, and the index's path."""
    stem, _, suffix = kind.rpartition(".")
    places = {}
    for number, key in enumerate(STATE):
        name = f"{stem}-{number % count + 1:05}-of-{count:05}.{suffix}"
        places[key] = name
    for name in set(places.values()):
        part = {key: STATE[key] for key in STATE if places[key] == name}
        (save_file if suffix == "safetensors" else torch.save)(part, folder / name)
    index = folder / f"{kind}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_shards_are_read_by_their_index(tmp_path, kind):
    index = sharded(tmp_path, kind)
    assert same(read_state(index))
    shard = next(tmp_path.glob("*-00001-of-00002*"))
    with pytest.raises(ValueError, match=rf"of-00002.* is one shard of several.*{index.name}"):
        read_file(shard)
    index.unlink()
    with pytest.raises(ValueError, match=rf"one shard of several.*fetch {index.name}, too"):
        read_file(shard)


def test_a_model_in_one_shard_is_whole(tmp_path):
    sharded(tmp_path, count=1)
    assert same(read_state(tmp_path / "model-00001-of-00001.safetensors"))


def test_what_is_wrong_with_shards_is_told_by_file_and_key(tmp_path):
    index = sharded(tmp_path)
    _, second = sorted(tmp_path.glob("*.safetensors"))
    whole = second.read_bytes()
    second.unlink()
    with pytest.raises(FileNotFoundError, match=r"model-00002-of-00002.safetensors is not there"):
        read_file(index)
    save_file({"c": torch.ones(1)}, second)
    with pytest.raises(ValueError, match=r"00002-of-00002.safetensors lacks a.bias"):
        read_file(index)
    save_file({"a.bias": torch.ones(2), "b": torch.ones(1)}, second)
    with pytest.raises(ValueError, match="holds b, and so does another shard"):
        read_file(index)
    second.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"00002-of-00002.safetensors cannot be read as plain"):
        read_file(index)


@pytest.mark.parametrize("name", ["../w.safetensors", "{}/w.safetensors", "..", "", "a/b", "a\0"])
def test_an_index_leads_to_no_file_elsewhere(tmp_path, name):
    folder = tmp_path / "model"
    (folder / "a").mkdir(parents=True)
    for place in (tmp_path / "w.safetensors", folder / "a" / "b"):
        save_file(STATE, place)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(STATE, name.format(tmp_path))}))
    with pytest.raises(ValueError, match=r"index.json names .*expected a file beside it"):
        read_file(index)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_told(tmp_path, text):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(ValueError, match=r"index.json is no index of shards"):
        read_file(index)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_a_file_of_torch_that_was_cut_off_is_told_by_name_at_every_length(tmp_path, options):
    file = tmp_path / "cut.pt"
    torch.save({"module": STATE}, file, **options)
    whole = file.read_bytes()
    for size in (*range(12), *range(12, len(whole), 97), len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.pt cannot be read as plain weights"):
            read_file(file)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 182000000\n"
PAGES = {
    "Git LFS pointer": LFS,
    "web page": "\n <!DOCTYPE html><html><body>Sign in</body></html>",
    "HTML": "<html lang=en>",
    "XML": "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
}


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "w.pt", "w.ckpt"])
@pytest.mark.parametrize("word", PAGES)
def test_a_pointer_or_a_page_under_the_name_of_weights_is_called_one(tmp_path, name, word):
    (tmp_path / name).write_text(PAGES[word])
    with pytest.raises(ValueError, match=rf"{name} cannot be read .*{word}"):
        read_file(tmp_path / name)


def test_an_index_or_a_shard_that_is_a_pointer_is_called_one(tmp_path):
    index = sharded(tmp_path)
    next(tmp_path.glob("*00002-of*")).write_text(LFS)
    with pytest.raises(ValueError, match=r"00002-of-00002.safetensors cannot .*Git LFS pointer"):
        read_file(index)
    index.write_text(LFS)
    with pytest.raises(ValueError, match=r"index.json cannot be read as JSON: .*Git LFS pointer"):
        read_file(index)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Parameter(STATE["b"])
        with torch.no_grad():
            self.a.weight.copy_(STATE["a.weight"])
            self.a.bias.fill_(1)


HELD = {
    "module": lambda o: {"module": STATE, "args": o},
    "model": lambda o: {"model": STATE, "optimizer": {}, "args": o},
    "state_dict": lambda o: {"state_dict": STATE, "hyper_parameters": o},
    "bare": lambda o: {**STATE, "args": o},
    "whole module": lambda o: Net(),
    "module in a dictionary": lambda o: {"model": Net(), "args": o},
}


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", HELD)
def test_objects_beside_weights_are_refused_with_statements_that_work(
    tmp_path, monkeypatch, name, options
):
    torch.save(HELD[name](argparse.Namespace(lr=1)), tmp_path / "held.pt", **options)
    with pytest.raises(ValueError, match=r"it also holds .*if you trust the file") as caught:
        read_state(tmp_path / "held.pt")
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value).partition("in Python: ")[2], {"torch": torch})
    assert same(read_state(tmp_path / "weights.pt"))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*TorchScript:UserWarning")
def test_a_torchscript_program_is_refused_with_a_statement_that_works(tmp_path, monkeypatch):
    file = tmp_path / "traced.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3)), file)
    with pytest.raises(ValueError, match=r"traced.pt .*it is a TorchScript program") as caught:
        read_state(file)
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value).partition("in Python: ")[2], {"torch": torch})
    assert read_state(tmp_path / "weights.pt").keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"teacher": STATE, "student": STATE}, "'teacher', 'student' are none"),
        ({**STATE, "epoch": 3}, "'epoch' are none"),
        ({0: torch.ones(1)}, "0 are none"),
        ([torch.ones(1)], "but a list"),
        (torch.ones(1), "but a Tensor"),
    ],
)
def test_what_is_no_dictionary_of_tensors_is_named(tmp_path, held, words):
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=rf"w.pt holds no dictionary of tensors.*{words}"):
        read_state(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(2, 2).to_sparse(), "w is a sparse tensor"),
        (torch.ones(2, 2, device="meta"), "w is a shape without numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_a_tensor_that_lacks_numbers_is_named(tmp_path, value, words):
    torch.save(STATE | {"w": value}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=rf"w\.pt: {words}, expected a dense tensor"):
        read_state(tmp_path / "w.pt")
