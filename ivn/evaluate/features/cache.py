"""Features on disk: computed once, written in shards, found again after a kill.

CACHE/<identity>/<pool>/<shard>.safetensors holds one tensor per view, under the key of its file and
view. Every shard appears whole or not at all.
"""

import json
import os
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ivn.durable import new_file, why
from ivn.errors import DataError, WriteError
from ivn.frozen.encoders import Frozen, Pool
from ivn.media.source import Source

from .views import AnyView

# Raised whenever the same file gives other pixels or other features than before: by our decoding,
# sampling, resizing, cropping or arithmetic. Features of another number are computed again.
_VERSION = 2
_SHARD_BYTES = 2**26
_SHARD_ENTRIES = 2**13
_SHARD_SECONDS = 20.0
_RESIDENT_BYTES = 2**30
_LARGEST_HALF = 6e4


def default_folder() -> Path:
    """Returns the default folder of features: ``$XDG_CACHE_HOME/ivn/features``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ivn" / "features"


def entry(source: Source, view: AnyView) -> str:
    """Returns the key of a view of a file.

    It depends on the file's path, size and time of change, on the window, and on the number of our
    code, so that features of a file or a code that has changed are computed again.
    """
    real = os.path.realpath(source.path)
    # A file that cannot be read has no features either.
    stat = os.stat(real) if os.path.exists(real) else None
    # Not its content: hashing all files would take as long as decoding them.
    state = [stat.st_size, stat.st_mtime_ns] if stat else []
    # A tar may hold several members of one name: offsets tell them apart.
    member = [source.member, source.offset] if source.member else []
    text = json.dumps([_VERSION, real, *member, state, source.start, source.end, view.name])
    return sha256(text.encode()).hexdigest()[:40]


def compact(features: Tensor, pool: Pool) -> Tensor:
    """Returns features in the dtype in which they are kept and read by heads.

    Tokens, which are many, are kept in half precision. Values beyond its range, and all pooled
    features, stay in fp32.
    """
    if pool != "none" or features.abs().max() > _LARGEST_HALF:
        return features
    return features.half()


class Store:
    """The features of one encoder in one pool.

    Args:
        root: folder of all features.
        frozen: the encoder.
        pool: the pool of its features.

    Attributes:
        folder: folder of the shards.
        damaged: shards that could not be read; their features are computed again.
    """

    def __init__(self, root: Path, frozen: Frozen, pool: Pool) -> None:
        self.folder = root / frozen.identity[:32] / pool
        self.pool: Pool = pool
        self.damaged: list[Path] = []
        self._shard_of: dict[str, Path] = {}
        self._pending: dict[str, Tensor] = {}
        self._bytes, self._since = 0, time.monotonic()
        self._open: dict[Path, safe_open] = {}
        for shard in sorted(self.folder.glob("[!.]*.safetensors")):
            self._index(shard)

    def __contains__(self, key: str) -> bool:
        return key in self._shard_of or key in self._pending

    def put(self, key: str, features: Tensor) -> None:
        """Keeps the features of one view; they are written now and then, and by :meth:`flush`."""
        value = compact(features, self.pool).contiguous().clone()
        self._pending[key] = value
        self._bytes += value.nbytes
        late = time.monotonic() - self._since > _SHARD_SECONDS
        if late or self._bytes > _SHARD_BYTES or len(self._pending) >= _SHARD_ENTRIES:
            self.flush()

    def flush(self) -> None:
        """Writes the features that are not on disk yet.

        Raises:
            DataError: they could not be written.
        """
        self._since = time.monotonic()
        if not self._pending:
            return
        name = sha256("".join(self._pending).encode()).hexdigest()[:16]
        shard = self.folder / f"{name}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with new_file(shard, overwrite=True, failures=(SafetensorError,)) as temporary:
                save_file(self._pending, temporary)
        except (OSError, WriteError) as error:
            raise DataError(
                f"{self.folder}: features could not be written ({why(error, self.folder)}); "
                "choose another folder with --cache"
            ) from error
        self._shard_of |= dict.fromkeys(self._pending, shard)
        self._pending, self._bytes = {}, 0

    def get(self, key: str) -> Tensor:
        """Returns the features of a view, as :func:`compact` gave them."""
        if key in self._pending:
            return self._pending[key]
        shard = self._shard_of[key]
        if shard not in self._open:
            self._open[shard] = safe_open(shard, "pt")
        return self._open[shard].get_tensor(key)

    def _index(self, shard: Path) -> None:
        try:
            with safe_open(shard, "pt") as file:
                keys = list(file.keys())
        except (OSError, SafetensorError):
            self.damaged.append(shard)
            return
        self._shard_of |= dict.fromkeys(keys, shard)


class Features(Protocol):
    """Features of n clips in each of some views."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view's features."""

    def take(self, clips: Tensor, views: Tensor) -> Tensor:
        """Returns the features of some clips, each in one view, ``[b] -> [b, ...]``."""


class HeldFeatures:
    """Features in memory, ``[n, V, ...]``."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self.shape = tuple(features.shape[2:])

    def take(self, clips: Tensor, views: Tensor) -> Tensor:
        return self.features[clips, views]


class StoredFeatures:
    """Features in a store.

    They are held in memory where they take less than 1 GB, else read from disk when taken.

    Args:
        store: a store that holds all of them.
        keys: keys of each clip's views, ``[n][V]``; None for a view that is never taken.
    """

    def __init__(self, store: Store, keys: Sequence[Sequence[str | None]]) -> None:
        self._store = store
        used = [key for own in keys for key in own if key is not None]
        row = {key: number for number, key in enumerate(dict.fromkeys(used))}
        self._keys = list(row)
        self._row = torch.tensor([[-1 if key is None else row[key] for key in own] for own in keys])
        first = store.get(self._keys[0])
        self.shape = tuple(first.shape)
        self._all: Tensor | None = None
        if first.nbytes * len(self._keys) <= _RESIDENT_BYTES:
            self._all = torch.stack([store.get(key) for key in self._keys])

    def take(self, clips: Tensor, views: Tensor) -> Tensor:
        rows = self._row[clips, views]
        assert rows.min() >= 0, "a view that was not extracted"
        if self._all is not None:
            return self._all[rows]
        return torch.stack([self._store.get(self._keys[row]) for row in rows.tolist()])
