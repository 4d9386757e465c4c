"""The runs behind an ablation table: their folders, their starts and their results.

OUT/runs/STAGE-DIGEST-seedN/   a run, named by its settings: rows and tables that agree share it
OUT/baselines/NAME/            a baseline: random weights, raw pixels
.../probes/LABEL/result.json   the result on the features of a run or baseline
OUT/features/                  the features
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ivn import run
from ivn.config.presets import PRESETS
from ivn.config.run import Config, override, to_toml
from ivn.data.batch import ClipSpec
from ivn.evaluate.heads.training import Training
from ivn.evaluate.results import PROBES, RESULT, write
from ivn.evaluate.tasks.classify.task import classify
from ivn.frozen import RAW
from ivn.frozen.encoders import Frozen, FrozenEncoder, Pool
from ivn.load import load_frozen
from ivn.media.source import Source
from ivn.model.encoder import build_encoder
from ivn.train import folder
from ivn.train.settings import EfficiencyConfig, RunConfig, resolve_device

from .paper import PaperRow, PaperTable, Scale, recipe
from .table import ResultLine

RANDOM, PIXELS = "random weights", "raw pixels"
# One vector per frame, in time order: motion shows in how they follow each other.
POOL: Pool = "frames"
TRAINING = Training()
_TEACHER = "stage.teacher"


@dataclass(frozen=True)
class Lab:
    """The runs of a table, and the settings that they share.

    Attributes:
        out: folder of runs and results.
        data: clips to pretrain on.
        clips: labelled clips to evaluate on.
        labels: names of the labels to evaluate.
        scale: size of the models.
        seeds: number of runs of each row.
        changes: settings of all runs, beyond the recipe of the scale; those of ``stage.teacher``
            apply under the key where a row has the teacher.
        table: the table of the rows.
        several: names of the labels of which a clip may have several values.
    """

    out: Path
    data: str
    clips: Sequence[Source]
    labels: Sequence[str]
    scale: Scale
    seeds: int
    changes: tuple[str, ...]
    table: PaperTable
    several: Sequence[str] = ()

    def config(self, row: PaperRow, seed: int) -> Config:
        """Returns the config of a row's run."""
        changes = tuple(_of_row(change, row) for change in self.changes)
        settings = (*recipe(self.scale, row.stage), *row.settings, *filter(None, changes))
        return override(PRESETS[f"{row.stage}-{self.scale}"](), *settings, f"data.seed={seed}")

    def run_dir(self, row: PaperRow, seed: int) -> Path:
        """Returns the run's folder, named by everything that can change its result."""
        config = self.config(row, seed)
        named = replace(config, name="", run=RunConfig(), efficiency=EfficiencyConfig())
        text = f"{to_toml(named)}{Path(self.start(row, seed)).name}"
        return self.out / "runs" / f"{row.stage}-{_digest(text)}-seed{seed}"

    def start(self, row: PaperRow, seed: int) -> str:
        """Returns the folder of the run that a row's run starts from; "" for none."""
        first = [other for other in self.table.rows if row.start and other.name == row.start]
        return str(self.run_dir(first[0], seed)) if first else ""

    def train(self, row: PaperRow, seed: int) -> int:
        """Runs a row to its end, or resumes it; returns the exit code."""
        run_dir = self.run_dir(row, seed)
        if folder.is_run(run_dir):
            return run.resume(run_dir, data=self.data)
        return run.start(
            self.config(row, seed),
            data=self.data,
            out=run_dir,
            init=self.start(row, seed),
            show_config=False,
        )

    def probe(self, frozen: Frozen, holder: Path) -> None:
        """Evaluates every label that has no result yet."""
        device = self._device()
        for label in self.labels:
            if _file(holder, label).exists():
                continue
            result = classify(
                [frozen],
                self.clips,
                label=label,
                heads=["linear"],
                pool=POOL,
                training=replace(TRAINING, device=device),
                cache=self.out / "features",
            )
            write(result, _file(holder, label).parent)

    def probed(self, holder: Path) -> bool:
        """Returns whether all labels have results, and the run has thus ended."""
        return all(_file(holder, label).exists() for label in self.labels)

    def trained(self, row: PaperRow, seed: int) -> Frozen:
        """Returns the encoder of a row's run, for clips of the size that it was trained on."""
        stage, run_dir = self.config(row, seed).stage, str(self.run_dir(row, seed))
        return load_frozen(run_dir, frames=stage.frames, size=stage.size, device=self._device())

    def baselines(self, seed: int) -> dict[Path, Frozen]:
        """Returns the baselines, random weights and statistics of raw pixels, by their folders."""
        config = self.config(self.table.rows[0], seed)
        encoder = build_encoder(config.model.encoder, seed=seed).to(self._device())
        spec = ClipSpec(config.stage.frames, config.stage.size)
        return {
            self._random(seed): FrozenEncoder(RANDOM, encoder, spec),
            self._pixels(): load_frozen(RAW, frames=spec.frames, size=spec.size),
        }

    def lines(self, failed: dict[str, str]) -> list[ResultLine]:
        """Returns the lines of the table as far as they are known, then the baselines."""
        seeds = range(self.seeds)
        lines = [
            ResultLine(
                row.name,
                row.paper,
                # A row that cannot run at this scale would have the settings of another row.
                self._scores(self.run_dir(row, seed) for seed in seeds if not row.missing),
                row.missing or failed.get(row.name, ""),
            )
            for row in self.table.rows
        ]
        lines.append(ResultLine(RANDOM, (), self._scores(map(self._random, seeds))))
        lines.append(ResultLine(PIXELS, (), self._scores([self._pixels()])))
        return lines

    def _scores(self, holders: Iterable[Path]) -> dict[str, list[float]]:
        """Returns label -> per cent of each folder that has a result."""
        scores: dict[str, list[float]] = {label: [] for label in self.labels}
        for holder in holders:
            for label in self.labels:
                if (file := _file(holder, label)).exists():
                    row = json.loads(file.read_text("utf-8"))["rows"][0]
                    scores[label].append(100 * row["map" if "map" in row else "top1"]["value"])
        return scores

    def _random(self, seed: int) -> Path:
        return self.out / "baselines" / f"random-seed{seed}"

    def _pixels(self) -> Path:
        return self.out / "baselines" / "raw"

    def _device(self) -> str:
        return str(resolve_device(self.config(self.table.rows[0], 0).efficiency.device))


def _of_row(change: str, row: PaperRow) -> str:
    """Returns a setting under the key where a row has the scale's teacher; "" without it."""
    key = f"{_TEACHER}."
    if not change.startswith(key):
        return change
    return change.replace(key, f"{row.teacher}.", 1) if row.teacher else ""


def _file(holder: Path, label: str) -> Path:
    """Returns the file of the result on a label, where the page of a run reads it."""
    # A label may be called anything; a folder may not.
    name = label if re.fullmatch(r"[\w-]{1,60}", label, re.ASCII) else _digest(label)
    return holder / PROBES / name / RESULT


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
