"""Finds the checkpoints of a run, and the file of weights that a path stands for."""

from pathlib import Path

from .formats import INDEX, index_of, is_shard

CHECKPOINTS = "checkpoints"
# Names of a whole model's weights on hubs; the first that exists is read.
HUB_NAMES = (
    "model.safetensors",
    f"model.safetensors{INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
)

LATEST = "latest"
_DEEPSPEED = "mp_rank_00_model_states.pt"
_STEP = "step-" + 8 * "[0-9]"


def checkpoints(run: Path) -> list[Path]:
    """Returns the checkpoints of a run, oldest first: folders named step- and eight digits.

    Folders of other names, such as a user's own copies, are neither read nor removed.
    """
    return sorted(path for path in (run / CHECKPOINTS).glob(_STEP) if path.is_dir())


def newest(run: Path) -> Path | None:
    """Returns the newest checkpoint of a run, or None before the first."""
    # Even if it is damaged: an older one would be another result.
    return next(reversed(checkpoints(run)), None)


def weights_file(path: Path, part: str) -> Path:
    """Returns the file at ``path`` or, in a folder, the file of ``part`` or of the whole model.

    In a run's folder it is that of the newest checkpoint, in DeepSpeed's that of the folder which
    the file ``latest`` names. For a model in shards it is their index.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: ``latest`` names no folder inside ``path``.
    """
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"no weights at {path}: expected a file, or a folder with one")
        return path
    folder = newest(path) or path
    names = (f"{part}.safetensors", *HUB_NAMES, _DEEPSPEED)
    found = _first(folder, names)
    if found is None and folder == path and (path / LATEST).exists():
        folder = _named_by_latest(path)
        found = _first(folder, names)
    if found is not None:
        return found
    if lone := sorted(file.name for file in folder.iterdir() if is_shard(file.name)):
        raise FileNotFoundError(
            f"{folder} has {lone[0]}, one shard of several, and no {index_of(lone[0])}: fetch "
            "that, too"
        )
    raise FileNotFoundError(f"{folder} holds none of {', '.join(names)}")


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _named_by_latest(root: Path) -> Path:
    """Returns the folder of DeepSpeed's newest checkpoint in ``root``."""
    latest = root / LATEST
    try:
        name = LATEST if latest.is_dir() else latest.read_text("utf-8").strip()
        folder = (root / name).resolve()
    except ValueError as error:  # not text, or a name with a zero byte
        raise ValueError(f"{latest} names no folder ({error})") from None
    # Links are resolved, so that only files in the folder that the user gave are read.
    if folder.parent != root.resolve():
        raise ValueError(
            f"{latest} names {name!r}, which is not in {root}: give that folder itself"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"{latest} names {name!r}, and {root} has no such folder")
    return folder
