"""The runs behind an ablation table: where each is, what it starts from, what its probes found.

OUT/runs/STAGE-DIGEST-seedN/   a run, named by its settings: rows and tables that agree share it
OUT/baselines/NAME/            what stands beside: random weights, raw pixels
.../probes/LABEL/result.json   what a probe found on the features of either
OUT/features/                  those features
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
from ivn.evaluate.results import RESULT, write
from ivn.evaluate.tasks.classify import classify
from ivn.frozen.encoders import Frozen, FrozenEncoder, Pool
from ivn.load import load_frozen
from ivn.media.source import Source
from ivn.model.encoder import build_encoder
from ivn.train import folder
from ivn.train.settings import EfficiencyConfig, RunConfig, resolve_device

from .paper import Row, Scale, Table, recipe
from .table import Line

RANDOM, PIXELS = "random weights", "raw pixels"
# One vector a frame, in their order: what moves where is in how they follow each other.
POOL: Pool = "frames"
TRAINING = Training()
_TEACHER = "stage.teacher"


@dataclass(frozen=True)
class Lab:
    """What all runs of a table share.

    Attributes:
        out: folder of runs and probes.
        data: clips to pretrain on.
        clips: labelled clips to probe on.
        labels: those of their labels that are probed.
        scale: size of the models.
        seeds: runs of each row.
        changes: settings of all runs, beyond the recipe of the scale; those of ``stage.teacher``
            hold wherever a row has it.
        table: whose rows they are.
        several: those of ``labels`` of which a clip may have several values.
    """

    out: Path
    data: str
    clips: Sequence[Source]
    labels: Sequence[str]
    scale: Scale
    seeds: int
    changes: tuple[str, ...]
    table: Table
    several: Sequence[str] = ()

    def config(self, row: Row, seed: int) -> Config:
        """The config of a row's run."""
        changes = tuple(_of_row(change, row) for change in self.changes)
        settings = (*recipe(self.scale, row.stage), *row.settings, *filter(None, changes))
        return override(PRESETS[f"{row.stage}-{self.scale}"](), *settings, f"data.seed={seed}")

    def place(self, row: Row, seed: int) -> Path:
        """The run's folder, named by all that can change its result."""
        config = self.config(row, seed)
        told = replace(config, name="", run=RunConfig(), efficiency=EfficiencyConfig())
        text = f"{to_toml(told)}{Path(self.start(row, seed)).name}"
        return self.out / "runs" / f"{row.stage}-{_digest(text)}-seed{seed}"

    def start(self, row: Row, seed: int) -> str:
        """The run that a row's run goes on from; "" for none."""
        first = [other for other in self.table.rows if row.start and other.name == row.start]
        return str(self.place(first[0], seed)) if first else ""

    def train(self, row: Row, seed: int) -> int:
        """Run a row to its end, from where it is; gives the exit code."""
        place = self.place(row, seed)
        if (place / folder.CONFIG).exists():
            return run.resume(place, data=self.data)
        return run.start(
            self.config(row, seed),
            data=self.data,
            out=place,
            init=self.start(row, seed),
            show_config=False,
        )

    def probe(self, frozen: Frozen, holder: Path) -> None:
        """Read every label out of the features, unless that was done before."""
        device = self._device()
        for label in self.labels:
            if _file(holder, label).exists():
                continue
            found = classify(
                [frozen],
                self.clips,
                label=label,
                heads=["linear"],
                pool=POOL,
                training=replace(TRAINING, device=device),
                cache=self.out / "features",
            )
            write(found, _file(holder, label).parent)

    def probed(self, holder: Path) -> bool:
        """Whether all was read out of the features, and their run so ended."""
        return all(_file(holder, label).exists() for label in self.labels)

    def trained(self, row: Row, seed: int) -> Frozen:
        """The encoder of a row's run, on clips as it was trained on."""
        stage, run_dir = self.config(row, seed).stage, str(self.place(row, seed))
        return load_frozen(run_dir, frames=stage.frames, size=stage.size, device=self._device())

    def baselines(self, seed: int) -> dict[Path, Frozen]:
        """What needs no training: random weights, and statistics of raw pixels; by folder."""
        config = self.config(self.table.rows[0], seed)
        encoder = build_encoder(config.model.encoder, seed=seed).to(self._device())
        spec = ClipSpec(config.stage.frames, config.stage.size)
        return {
            self._random(seed): FrozenEncoder(RANDOM, encoder, spec),
            self._pixels(): load_frozen("raw", frames=spec.frames, size=spec.size),
        }

    def lines(self, failed: dict[str, str]) -> list[Line]:
        """The table as far as it is known, and the baselines under it."""
        seeds = range(self.seeds)
        lines = [
            Line(
                row.name,
                row.paper,
                # Without what cannot be had at this scale it would be another row's run.
                self._scores(self.place(row, seed) for seed in seeds if not row.missing),
                row.missing or failed.get(row.name, ""),
            )
            for row in self.table.rows
        ]
        lines.append(Line(RANDOM, (), self._scores(map(self._random, seeds))))
        lines.append(Line(PIXELS, (), self._scores([self._pixels()])))
        return lines

    def _scores(self, holders: Iterable[Path]) -> dict[str, list[float]]:
        """Label -> per cent of each, of those that were probed."""
        scores: dict[str, list[float]] = {label: [] for label in self.labels}
        for holder in holders:
            for label in self.labels:
                if (file := _file(holder, label)).exists():
                    found = json.loads(file.read_text("utf-8"))
                    row = found["rows"][0]
                    scores[label].append(100 * row["map" if "map" in row else "top1"]["value"])
        return scores

    def _random(self, seed: int) -> Path:
        return self.out / "baselines" / f"random-seed{seed}"

    def _pixels(self) -> Path:
        return self.out / "baselines" / "raw"

    def _device(self) -> str:
        return str(resolve_device(self.config(self.table.rows[0], 0).efficiency.device))


def _of_row(change: str, row: Row) -> str:
    """A change of the scale's own teacher goes where the row has that; "" where it has none."""
    key = f"{_TEACHER}."
    if not change.startswith(key):
        return change
    return change.replace(key, f"{row.teacher}.", 1) if row.teacher else ""


def _file(holder: Path, label: str) -> Path:
    """The result on a label, where the page of a run looks for it."""
    # A label may be called anything; a folder may not.
    name = label if re.fullmatch(r"[\w-]{1,60}", label, re.ASCII) else _digest(label)
    return holder / "probes" / name / RESULT


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
