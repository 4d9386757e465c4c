"""The file of features, as npz, safetensors or parquet, written piece by piece.

W windows, V videos. ``features`` is float32 ``[W, ...]``, ``video`` the number of each window's
video, int64 ``[W]``, ``start`` and ``end`` are in seconds, float64 ``[W]``. The rest is the header,
in JSON.
"""

import json
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ivn.errors import RequestError


@dataclass(frozen=True)
class EmbeddingTable:
    """The content of a file of features.

    Attributes:
        header: plain values, for JSON.
        videos: path of each video, V in all.
        shape: shape of a window's features.
        columns: video, start and end, ``[W]`` each.
        pieces: function that yields the features from the start, in pieces, float32 ``[w, ...]``.
    """

    header: Mapping[str, Any]
    videos: list[str]
    shape: tuple[int, ...]
    columns: Mapping[str, np.ndarray]
    pieces: Callable[[], Iterable[np.ndarray]]


def writer_for(path: Path) -> Callable[[Path, EmbeddingTable], None]:
    """Returns the function that writes a file of this suffix.

    Raises:
        RequestError: there is none.
    """
    writers = {".npz": _write_npz, ".safetensors": _write_safetensors, ".parquet": _write_parquet}
    if path.suffix.lower() not in writers:
        raise RequestError(f"{path}: expected a name that ends in {', '.join(writers)}")
    return writers[path.suffix.lower()]


def _write_npz(path: Path, table: EmbeddingTable) -> None:
    """Writes an uncompressed zip of .npy files, ``videos`` and ``header`` (JSON) as text."""
    small = {
        **table.columns,
        "videos": np.array(table.videos, np.str_),
        "header": np.array(json.dumps(table.header)),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in small.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        # Zip has to know in advance that there may be more than 4 GB.
        with archive.open("features.npy", "w", force_zip64=True) as file:
            described = {"descr": "<f4", "fortran_order": False, "shape": _whole_shape(table)}
            np.lib.format.write_array_header_1_0(file, described)
            _write_pieces(file, table)


def _write_safetensors(path: Path, table: EmbeddingTable) -> None:
    """Writes the format of safetensors: eight bytes of length, a JSON header, the data."""
    kinds = {"float32": "F32", "float64": "F64", "int64": "I64"}
    shapes = {name: (array.shape, array.dtype.name) for name, array in table.columns.items()}
    shapes["features"] = _whole_shape(table), "float32"
    texts = {"header": json.dumps(table.header), "videos": json.dumps(table.videos)}
    described: dict[str, Any] = {"__metadata__": texts}
    offset = 0
    for name, (shape, dtype) in shapes.items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        described[name] = {
            "dtype": kinds[dtype],
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    head = json.dumps(described).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for array in table.columns.values():
            file.write(array.tobytes())
        _write_pieces(file, table)


def _write_parquet(path: Path, table: EmbeddingTable) -> None:
    """Writes one row per window: path and number of its video, start, end, features as a list."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    width = int(np.prod(table.shape))
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("video", pa.int64()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("features", pa.list_(pa.float32(), width)),
        ],
        metadata={"header": json.dumps(table.header), "videos": json.dumps(table.videos)},
    )
    done = 0
    with parquet.ParquetWriter(path, schema, compression="none") as file:
        for piece in table.pieces():
            rows = slice(done, done + len(piece))
            done += len(piece)
            columns = {name: array[rows] for name, array in table.columns.items()}
            paths = [table.videos[video] for video in columns["video"]]
            flat = pa.FixedSizeListArray.from_arrays(pa.array(piece.reshape(-1)), width)
            arrays = [pa.array(paths), *(pa.array(columns[name]) for name in schema.names[1:4])]
            file.write_table(pa.Table.from_arrays([*arrays, flat], schema=schema))


def _whole_shape(table: EmbeddingTable) -> tuple[int, ...]:
    return len(table.columns["video"]), *table.shape


def _write_pieces(file: IO[bytes], table: EmbeddingTable) -> None:
    for piece in table.pieces():
        file.write(np.ascontiguousarray(piece, "<f4").data)
