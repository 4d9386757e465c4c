"""The runs behind an ablation table: where each is, what it starts from, what its probes found.

OUT/runs/STAGE-DIGEST-seedN/   a run, named by its settings: rows and tables that agree share it
OUT/probes/NAME/LABEL.json     what a probe found on the features of a run, or of a baseline
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ivn import run
from ivn.config import Config, override, to_toml
from ivn.data.clip import ClipSpec
from ivn.data.source import Source
from ivn.load import load_frozen
from ivn.model.encoder import build_encoder
from ivn.presets import PRESETS
from ivn.probe.classify import classify
from ivn.probe.frozen import Frozen, FrozenEncoder, Pool
from ivn.probe.train import Training
from ivn.train import folder
from ivn.train.settings import EfficiencyConfig, RunConfig

from .outcome import Line
from .paper import Row, Scale, Table, recipe

RANDOM, PIXELS = "random weights", "raw pixels"
# One vector a frame, in their order: what moves where is in how they follow each other.
POOL: Pool = "frames"
TRAINING = Training()


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
        changes: settings of all runs, beyond the recipe of the scale.
        table: whose rows they are.
    """

    out: Path
    data: str
    clips: Sequence[Source]
    labels: Sequence[str]
    scale: Scale
    seeds: int
    changes: tuple[str, ...]
    table: Table

    def config(self, row: Row, seed: int) -> Config:
        """The config of a row's run."""
        settings = (*recipe(self.scale, row.stage), *row.settings, *self.changes)
        return override(PRESETS[f"{row.stage}-{self.scale}"](), *settings, f"data.seed={seed}")

    def place(self, row: Row, seed: int) -> Path:
        """The run's folder, named by all that can change its result."""
        config = self.config(row, seed)
        told = replace(config, name="", run=RunConfig(), efficiency=EfficiencyConfig())
        text = f"{to_toml(told)}{Path(self.start(row, seed)).name}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        return self.out / "runs" / f"{row.stage}-{digest}-seed{seed}"

    def start(self, row: Row, seed: int) -> str:
        """The run that a row's run goes on from; "" for none."""
        first = [other for other in self.table.rows if row.start and other.name == row.start]
        return str(self.place(first[0], seed)) if first else ""

    def train(self, row: Row, seed: int) -> int:
        """Run a row to its end, from where it is; gives the exit code."""
        place = self.place(row, seed)
        if (place / folder.CONFIG).exists():
            return run.resume(place)
        return run.start(
            self.config(row, seed),
            data=self.data,
            out=place,
            init=self.start(row, seed),
            show_config=False,
        )

    def probe(self, frozen: Frozen, name: str) -> None:
        """Read every label out of the features, unless that was done before."""
        for number, label in enumerate(self.labels):
            file = self._file(name, number)
            if file.exists():
                continue
            found = classify(
                [frozen], self.clips, label=label, heads=["linear"], pool=POOL, training=TRAINING
            )
            file.parent.mkdir(parents=True, exist_ok=True)
            folder.write_text(file, json.dumps(found.json(), indent=1) + "\n")

    def probed(self, row: Row, seed: int) -> bool:
        """Whether the row's run was probed, and so ended."""
        name = self.place(row, seed).name
        return all(self._file(name, number).exists() for number in range(len(self.labels)))

    def trained(self, row: Row, seed: int) -> Frozen:
        """The encoder of a row's run, on clips as it was trained on."""
        stage = self.config(row, seed).stage
        return load_frozen(str(self.place(row, seed)), frames=stage.frames, size=stage.size)

    def baselines(self, seed: int) -> dict[str, Frozen]:
        """What needs no training: name -> random weights, and statistics of raw pixels."""
        config = self.config(self.table.rows[0], seed)
        encoder = build_encoder(config.model.encoder, seed=seed)
        spec = ClipSpec(config.stage.frames, config.stage.size)
        return {
            f"random-seed{seed}": FrozenEncoder(RANDOM, encoder, spec),
            "raw": load_frozen("raw", frames=spec.frames, size=spec.size),
        }

    def lines(self, failed: dict[str, str]) -> list[Line]:
        """The table as far as it is known, and the baselines under it."""
        seeds = range(self.seeds)
        lines = [
            Line(
                row.name,
                row.paper,
                self._scores(self.place(row, seed).name for seed in seeds),
                row.missing or failed.get(row.name, ""),
            )
            for row in self.table.rows
        ]
        lines.append(Line(RANDOM, (), self._scores(f"random-seed{seed}" for seed in seeds)))
        lines.append(Line(PIXELS, (), self._scores(["raw"])))
        return lines

    def _scores(self, names: Iterable[str]) -> dict[str, list[float]]:
        """Label -> per cent of each of the named, of those that were probed."""
        scores: dict[str, list[float]] = {label: [] for label in self.labels}
        for name in names:
            for number, label in enumerate(self.labels):
                file = self._file(name, number)
                if file.exists():
                    scores[label].append(100 * _top1(json.loads(file.read_text("utf-8"))))
        return scores

    def _file(self, name: str, number: int) -> Path:
        # A label may be called anything; a file may not.
        return self.out / "probes" / name / f"label{number}.json"


def _top1(found: dict[str, Any]) -> float:
    return found["rows"][0]["top1"]["value"]
