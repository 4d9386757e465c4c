"""Where weights lie: which file a path means, and which checkpoint of a run is its newest."""

from pathlib import Path

from .formats import INDEX, index_of, is_shard

CHECKPOINTS = "checkpoints"
# Of a whole model, as hubs have them: the first that is there is taken.
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
    """The checkpoints of a run, the oldest first: folders named step- and eight digits.

    A user's own copies, of whatever other name, are none: they are neither read nor removed.
    """
    return sorted(path for path in (run / CHECKPOINTS).glob(_STEP) if path.is_dir())


def newest(run: Path) -> Path | None:
    """The checkpoint that a run goes on from and is judged by; None before the first."""
    # Even if it is damaged: an older one would be another result.
    return next(reversed(checkpoints(run)), None)


def weights_file(path: Path, part: str) -> Path:
    """The file at ``path`` or, in a folder, that of ``part`` or of the whole model.

    Of a run's folder that is the newest checkpoint's; of DeepSpeed's that of the folder that its
    file ``latest`` names. Of a model in shards it is their index.

    Raises:
        FileNotFoundError: there is none.
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
    """The folder of DeepSpeed's newest checkpoint in ``root``."""
    latest = root / LATEST
    try:
        name = LATEST if latest.is_dir() else latest.read_text("utf-8").strip()
        folder = (root / name).resolve()
    except ValueError as error:  # no text, or a name with a zero byte
        raise ValueError(f"{latest} names no folder ({error})") from None
    # Links are followed: whatever is read lies in the folder that the user gave.
    if folder.parent != root.resolve():
        raise ValueError(
            f"{latest} names {name!r}, which is not in {root}: give that folder itself"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"{latest} names {name!r}, and {root} has no such folder")
    return folder
