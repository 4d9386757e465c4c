"""The log of a run, read back."""

import json
from pathlib import Path
from typing import Any

from ivn.train import folder

RESULT = ("step", "epoch", "lr", "loss", "terms", "grad_norm", "skipped")


def log(run: Path) -> list[dict[str, Any]]:
    """A table for each step."""
    return [json.loads(line) for line in (run / folder.LOG).read_text().splitlines()]


def results(run: Path) -> list[dict[str, Any]]:
    """What the settings of a run may not change, and a kill neither."""
    return [{key: line[key] for key in RESULT} for line in log(run)]
