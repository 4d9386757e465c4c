"""Fetches weights from the Hugging Face hub, and checks them."""

import importlib
from pathlib import Path

from .checkpoints import HUB_NAMES
from .formats import INDEX, check_plain, shards
from .sizes import CARD


def fetch(name: str) -> Path:
    """Fetches the weights of a hub id with the files that belong to them, and returns their file.

    For weights in shards it returns the index.

    Args:
        name: hub id, "owner/name".

    Raises:
        FileNotFoundError: the repository cannot be reached, or has no file of weights.
        ValueError: huggingface_hub is not installed, or the index names a file elsewhere.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
    except ImportError as error:
        raise ValueError(f'{name} is a hub id: pip install "ivn[hf]" to fetch it') from error

    absent: list[Exception] = []

    def download(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(name, file))
        except EntryNotFoundError as error:  # also LocalEntryNotFoundError, without a network
            absent.append(error)
            return None

    try:
        download(CARD)
        found = next(filter(None, map(download, HUB_NAMES)), None)
        for shard in shards(found) if found and found.name.endswith(INDEX) else ():
            hf_hub_download(name, shard.name)
    except (HfHubHTTPError, EntryNotFoundError) as error:
        absent.append(error)
        found = None
    if found is None:
        reason = str(absent[-1]).splitlines()[0]
        raise FileNotFoundError(
            f"{name} cannot be fetched from the hub: {reason} (looked for {', '.join(HUB_NAMES)})"
        ) from absent[-1]
    return found


def check_published(source: str) -> None:
    """Checks the safetensors that transformers will read, since it accepts integers as weights.

    Args:
        source: folder or hub id; transformers itself raises an error for anything else.

    Raises:
        ValueError: a file is damaged, has another format, or has weights that are not floats.
    """
    hub = importlib.import_module("transformers.utils.hub")

    def found(name: str) -> Path | None:
        file = hub.cached_file(source, name, _raise_exceptions_for_missing_entries=False)
        return None if file is None else Path(file)

    try:
        whole, index = found(HUB_NAMES[0]), found(HUB_NAMES[1])
    except OSError:  # neither a folder nor a reachable repository
        return
    files = [whole] if whole else [found(shard.name) for shard in shards(index)] if index else []
    for file in filter(None, files):
        check_plain(file)
