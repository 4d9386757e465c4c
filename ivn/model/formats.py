"""Reads tensors from files of weights without unpickling.

The formats are safetensors, PyTorch's zip format and its older one (before 1.6), also in shards
with an index beside them (``model.safetensors.index.json``). The format of a file that is not named
.safetensors is recognised by its first bytes.
"""

import json
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ivn.media.stand_in import HEAD, stand_in

INDEX = ".index.json"

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

# Dtypes by their names in safetensors; other names appear in messages as they are.
_DTYPES = dict(zip(("F32", "BF16", "F16", "F64"), FLOATS, strict=True)) | {"BOOL": torch.bool}
_DTYPES |= {"I8": torch.int8, "U8": torch.uint8, "I16": torch.int16, "I32": torch.int32}
_DTYPES |= {"I64": torch.int64}
_NO_WEIGHTS = ("num_batches_tracked", "position_ids", "relative_position_index")
_ZIP = b"PK\x03\x04"
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")
# The errors of the two libraries for a damaged file.
_DAMAGE = (
    *(SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, LookupError),
    *(TypeError, AttributeError, struct.error, OverflowError, AssertionError, OSError),
)


def read_file(file: Path) -> Any:
    """Returns the contents of a file of weights: tensors by key, or other plain data.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, has another format, holds more than plain data, or is one
            shard of several; the message names the file.
    """
    if not file.exists():
        raise FileNotFoundError(f"no weights at {file}")
    if file.name.endswith(INDEX):
        return _read_shards(file)
    _check_whole(file)
    return _read_one(file)


def check_plain(file: Path) -> None:
    """Checks that a file that another library will read holds floating-point weights.

    Raises:
        ValueError: the file is damaged, has another format, or has a weight of integers; the
            message names the file and the key.
    """
    if file.suffix != ".safetensors":
        held = _read_one(file)
        pairs = held.items() if isinstance(held, dict) else ()
        dtypes = {key: value.dtype for key, value in pairs if isinstance(value, Tensor)}
    else:
        _check_head(file)
        try:
            with safe_open(file, "pt") as opened:
                names = {key: opened.get_slice(key).get_dtype() for key in opened.keys()}  # noqa: SIM118
        except _DAMAGE as error:
            raise _unreadable(file, error) from error
        dtypes = {key: _DTYPES.get(name, name) for key, name in names.items()}
    for key, dtype in dtypes.items():
        # Counters and index tables that modules keep beside their weights, and masks.
        if dtype != torch.bool and key.rpartition(".")[2] not in _NO_WEIGHTS:
            check_dtype(key, dtype, str(file))


def check_dtype(key: str, dtype: torch.dtype | str, where: str) -> None:
    """Raises an error if tensors of ``dtype`` cannot be weights.

    Raises:
        ValueError: numbers are integers, or need a scale to be weights (fp8).
    """
    if dtype not in FLOATS:
        expected = ", ".join(map(_name, FLOATS))
        raise ValueError(
            f"{where}: {key} is {_name(dtype)}, expected {expected}: quantised numbers are not "
            "the weights"
        )


def _name(dtype: torch.dtype | str) -> str:
    return str(dtype).removeprefix("torch.")


def is_shard(name: str) -> bool:
    """Returns whether ``name`` is that of one shard of several."""
    found = _SHARD.fullmatch(name)
    return found is not None and int(found[2]) > 1


def index_of(shard: str) -> str:
    """Returns the name of the index that belongs to a shard of this name."""
    found = _SHARD.fullmatch(shard)
    assert found is not None, shard
    return f"{found[1]}{found[3]}{INDEX}"


def shards(index: Path) -> list[Path]:
    """Returns the files that an index names, all beside it.

    Raises:
        ValueError: the file is no index, or names a file elsewhere; the message names both.
    """
    return [index.with_name(name) for name in sorted(set(_places(index).values()))]


def json_of(file: Path) -> Any:
    """Returns the contents of a JSON file.

    Raises:
        ValueError: the file is not JSON.
    """
    content = file.read_bytes()
    if reason := stand_in(content[:HEAD]):
        raise ValueError(f"{file} cannot be read as JSON: {reason}")
    return json.loads(content)


def _read_one(file: Path) -> Any:
    head = _check_head(file)
    try:
        if file.suffix == ".safetensors" or (not head.startswith(_ZIP) and head[8:9] == b"{"):
            return load_file(file)
        # The older format cannot be memory-mapped.
        mapped = head.startswith(_ZIP)
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except _DAMAGE as error:
        raise _unreadable(file, error) from error


def _check_head(file: Path) -> bytes:
    """Returns the first bytes of a file; ValueError if it is a stand-in for another."""
    with file.open("rb") as opened:
        head = opened.read(HEAD)
    if reason := stand_in(head):
        raise ValueError(f"{file} cannot be read as plain weights: {reason}")
    return head


def _unreadable(file: Path, error: Exception) -> ValueError:
    return ValueError(f"{file} cannot be read as plain weights: {_remedy(file, error)}")


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = _places(index)
    whole: dict[str, Tensor] = {}
    for shard in shards(index):
        if not shard.exists():
            raise FileNotFoundError(
                f"{shard} is not there, but {index.name} names it: fetch it, too"
            )
        part = _read_one(shard)
        if not isinstance(part, dict):
            raise ValueError(f"{shard} holds no dictionary of tensors")
        if twice := sorted(whole.keys() & part.keys()):
            raise ValueError(f"{shard} holds {twice[0]}, and so does another shard")
        whole |= part
    if missing := sorted(places.keys() - whole.keys()):
        raise ValueError(
            f"{index.with_name(places[missing[0]])} lacks {missing[0]}, which {index.name} says "
            "is there: fetch or save it again"
        )
    return whole


def _places(index: Path) -> dict[str, str]:
    """Returns the name of each key's file."""
    try:
        places = json_of(index)["weight_map"]
        if not places or not all(isinstance(name, str) for name in places.values()):
            raise TypeError
    except (LookupError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(
            f"{index} is no index of shards: expected JSON with 'weight_map', from keys to files"
        ) from None
    for name in places.values():
        # An index that somebody else wrote must not lead to files elsewhere.
        if Path(name).name != name or name in ("", "..") or "\0" in name:
            raise ValueError(f"{index} names {name!r}, expected a file beside it")
    return places


def _check_whole(file: Path) -> None:
    if not is_shard(file.name):
        return
    index = file.with_name(index_of(file.name))
    there = f"give {index}, or its folder" if index.exists() else f"fetch {index.name}, too"
    raise ValueError(f"{file} is one shard of several, without the rest of the weights: {there}")


def _remedy(file: Path, error: Exception) -> str:
    """Returns why plain weights could not be read from ``file``, and what to do."""
    # PyTorch's message names the first object that only unpickling could build.
    held = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
    if held is not None:
        return (
            f"it also holds {held[1]}, and unpickling that runs what its author wrote; if you "
            f"trust the file, keep its tensors alone, in Python: {_keep_tensors(file)}"
        )
    if "TorchScript" in str(error):
        return (
            "it is a TorchScript program; if you trust the file, keep its tensors alone, in "
            f"Python: torch.save(torch.jit.load({str(file)!r}).state_dict(), 'weights.pt')"
        )
    return "it is damaged, or not what its name says; fetch or save it again"


def _keep_tensors(file: Path) -> str:
    """Returns a line of Python that saves the tensors of a file and drops other objects."""
    return (
        f"d = torch.load({str(file)!r}, weights_only=False); "
        "d = next((d[k] for k in ('module', 'model', 'state_dict') if k in d), d) "
        "if isinstance(d, dict) else d; "
        "d = d if isinstance(d, dict) else d.state_dict(); "
        "torch.save({k: v for k, v in d.items() if isinstance(v, torch.Tensor)}, 'weights.pt')"
    )
