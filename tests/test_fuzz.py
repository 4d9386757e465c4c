"""Damaged files give what is there or one clear error, never anything else.

IVN_FUZZ sets how many mutated videos and tars there are, 150 by default, see tests/mutants.py.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ivn
from ivn.config.presets import PRESETS
from ivn.config.run import from_toml, to_toml
from ivn.corpus.check.decoding import check_one
from ivn.corpus.index.found import found_at
from ivn.corpus.index.items import Remark, UnusableItem
from ivn.corpus.pool import in_processes
from ivn.corpus.progress import line_of, printable
from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.manifest.parquet import read_rows
from ivn.data.manifest.table import OK, USABLE
from ivn.data.reader import read_clip
from ivn.errors import ConfigError, DecodeError
from ivn.keys import make_keys
from ivn.media.decode import BACKENDS, decode
from ivn.media.facts import read_facts
from ivn.media.storage import name_of, read_bytes
from ivn.model.encoder import EncoderConfig, build_encoder
from ivn.processes import cores
from tests.mutants import Mutant, mutant, write_videos
from tests.processes import ROOT

pytest.importorskip("av")
pytest.importorskip("pyarrow")

COUNT = int(os.environ.get("IVN_SOAK", "10"))
MUTANTS = int(os.environ.get("IVN_FUZZ", "150"))
SECONDS = 60.0  # for all that is asked of a file
REAL = os.environ.get("IVN_TEST_CLIPS", "")
SECRET = b"nothing in a video or a tar leads here"


@dataclass(frozen=True)
class Given:
    """A mutant to make and look at, for a process of its own.

    Attributes:
        number: of the mutant.
        videos: that it is made of.
        home: a folder for it, with the secret beside it.
    """

    number: int
    videos: tuple[Path, ...]
    home: Path

    def mutant(self) -> Mutant:
        return mutant(self.number, self.videos, self.home / "secret")


@dataclass
class Seen:
    """What became of a mutant: videos with frames, reasons why others have none, and defects."""

    good: int = 0
    bad: int = 0
    wrong: list[str] = field(default_factory=list)


def look(given: Given) -> Seen:
    """All that is ever asked of a file, in the order in which a user meets it."""
    made, seen = given.mutant(), Seen()
    with tempfile.TemporaryDirectory(dir=given.home) as folder:
        file = Path(folder, "in", made.name)
        file.parent.mkdir()
        file.write_bytes(made.data)
        for found in found_at(str(file), Path(folder, "M.parquet")):
            if isinstance(found, Remark):
                continue
            if isinstance(found, UnusableItem):
                seen.bad += 1
                seen.wrong += [] if found.reason.isprintable() else [f"said {found.reason!r}"]
                continue
            source = found.as_source(folder)
            if found.member:
                # First as a manifest names it, then as somebody may who only knows the name.
                _look(replace(source, offset=0, size=0), given, made, seen)
            _look(source, given, made, seen)
        if list(Path(folder).rglob("*")) != [file.parent, file] or file.read_bytes() != made.data:
            seen.wrong.append("something was written")
    return seen


def _look(source, given: Given, made: Mutant, seen: Seen) -> None:
    specs = {"a": ClipSpec(4, 32), "b": ClipSpec(2, 48)}
    key = make_keys(given.number, 0, [0])
    usable = [name for name, backend in BACKENDS.items() if not backend.available()]
    asked = [
        lambda: read_facts(source),
        lambda: check_one(source, SECONDS),
        *[lambda b=b: decode(source, lambda n: [0, n // 2, n - 1], backend=b) for b in usable],
        lambda: read_clip(source, specs, DataConfig(), key),
        lambda: read_bytes(source),
    ]
    for ask in asked:
        try:
            got = ask()
        except DecodeError as error:
            seen.bad += 1
            name, reason = name_of(source), str(error)
            if not reason.startswith(name) or not reason.removeprefix(name).isprintable():
                seen.wrong.append(f"said {reason!r}")
            continue
        seen.good += 1
        if isinstance(got, bytes):
            inside = got in made.data if source.member else got == made.data
            seen.wrong += [] if inside else [f"{len(got)} bytes of another file"]
        if isinstance(got, dict):
            shapes = [tuple(views.shape) for views in got.values()]
            seen.wrong += [] if shapes == [(4, 32, 32, 3), (2, 48, 48, 3)] else [f"gave {shapes}"]
        if isinstance(got, torch.Tensor) and (got.dtype != torch.uint8 or got.ndim != 4):
            seen.wrong.append(f"gave {got.dtype} {tuple(got.shape)}")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Number -> what is to be done."""
    home = tmp_path_factory.mktemp("fuzz")
    (home / "secret").write_bytes(SECRET)
    (home / "videos").mkdir()
    videos = write_videos(home / "videos")
    if REAL:
        most = 40_000 if MUTANTS <= 150 else 400_000
        videos += [
            file
            for file in sorted(Path(REAL).iterdir())
            if 1000 < file.stat().st_size < most and file.suffix != ".tsv"
        ]
    return lambda number: Given(number, tuple(videos), home)


@pytest.mark.longer
def test_mutated_files_give_frames_or_a_reason(given, record_property):
    jobs = (given(number) for number in range(MUTANTS))
    workers = 1 if MUTANTS <= 150 else cores()
    began, good, bad = time.monotonic(), 0, 0
    wrong: list[str] = []
    for outcome in in_processes(look, jobs, workers=workers, seconds=SECONDS):
        seen = outcome.value or Seen(wrong=[outcome.reason])
        good, bad = good + (seen.good > 0), bad + (seen.bad > 0)
        if seen.wrong:
            how, what = outcome.item.mutant().how, "; ".join(dict.fromkeys(seen.wrong))
            wrong.append(f"number {outcome.item.number}, {how}: {what}")
            print(wrong[-1], flush=True)
    rate = MUTANTS / (time.monotonic() - began)
    told = f"{MUTANTS} mutated files, {rate:.1f}/s: {good} gave something, {bad} had a reason"
    record_property("told", told)
    assert not wrong, "\n".join(wrong)
    assert (given(0).home / "secret").read_bytes() == SECRET
    # Neither damage that nobody notices, nor damage that nothing survives.
    assert min(good, bad) > MUTANTS // 4


@pytest.mark.longer
def test_a_folder_of_mutated_files_goes_through_index_and_check(given, tmp_path, record_property):
    files = {}
    (tmp_path / "clips").mkdir()
    for number in range(MUTANTS, MUTANTS + max(24, MUTANTS // 10)):
        made = given(number).mutant()
        files[tmp_path / "clips" / made.name] = made
        (tmp_path / "clips" / made.name).write_bytes(made.data)

    def data(*arguments):
        command = [sys.executable, "-m", "ivn", "data", *map(str, arguments), "--workers", "1"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=SECONDS * len(files))
        assert done.stderr == b""
        return done.returncode, done.stdout.decode().splitlines()

    indexed, checked = tmp_path / "M.parquet", tmp_path / "C.parquet"
    code, told = data("index", tmp_path / "clips", "-o", indexed, "--max-bad", "1")
    assert code == 0
    every = list(read_rows(indexed, beside=indexed))
    for file, made in files.items():
        rows = [row for row in every if row.path == f"clips/{file.name}"]
        names = tuple(f"{printable(name)}: " for name in (f"clips/{file.name}", str(file)))
        lines = [line for line in told if line.startswith(names)]
        if file.suffix != ".tar":
            # A row, or a reason why there is none; a bad row is named, once, and so is one of which
            # there is something to say: other streams, a clock that jumps back.
            bad = [row for row in rows if row.status not in USABLE]
            said = [row for row in rows if row not in bad and (row.streams > 1 or row.restarts)]
            expected = max(len(bad) + len(said), 1 - len(rows))
            assert len(rows) <= 1 and len(lines) == expected, made.how
            assert not bad or lines == [line_of(bad[0], ": ")]
    code, told = data("check", indexed, "-o", checked)
    rows = list(read_rows(checked, beside=checked))
    bad = {line_of(row, ": ") for row in rows if row.status != OK}
    assert code == 1 and any(line.startswith(f"{len(rows)} rows checked") for line in told)
    assert bad <= set(told) and any(row.status == OK for row in rows)
    whole = {file: made.data for file, made in files.items()}
    assert {file: file.read_bytes() for file in (tmp_path / "clips").iterdir()} == whole
    new = {"M.parquet", "C.parquet", "C.bad.txt", "clips"}
    assert {file.name for file in tmp_path.iterdir()} == new
    record_property("told", f"{len(files)} mutated files through ivn data index and check")


def damaged(content: bytes, seed: int) -> bytes:
    """Some bytes changed, and in every third case the end cut off."""
    draw = random.Random(seed)
    changed = bytearray(content)
    for _ in range(draw.choice((1, 16, 256))):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed[: draw.randrange(len(changed))] if seed % 3 == 0 else changed)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> bytes:
    config = EncoderConfig(16, 1, 1, 16, image_height=14, image_width=14, num_frames=1)
    config = EncoderConfig(**{**vars(config), "pool_heads": 1, "pool_width": 16})
    path: Path = tmp_path_factory.mktemp("weights") / "e.safetensors"
    save_file(build_encoder(config, seed=0).state_dict(), path)
    return path.read_bytes()


@pytest.mark.longer
@pytest.mark.parametrize("seed", range(COUNT))
def test_damaged_weights(seed, weights, tmp_path):
    path = tmp_path / "e.safetensors"
    # Most of the file is numbers: damage its header too.
    header = damaged(weights[:4000], seed)
    path.write_bytes(header + weights[4000:] if seed % 2 else damaged(weights, seed))
    try:
        ivn.load_encoder(path, image_size=14, num_frames=1, num_heads=1, pool_heads=1)
    except ValueError as error:
        assert "e.safetensors" in str(error) or "checkpoint" in str(error)


@pytest.mark.longer
@pytest.mark.parametrize("seed", range(COUNT))
def test_damaged_configs(seed):
    text = damaged(to_toml(PRESETS["stage2-tiny"]()).encode(), seed)
    try:
        from_toml(text.decode("latin-1"))
    except ConfigError as error:
        assert "\n" not in str(error)
