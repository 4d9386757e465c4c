"""What a linear readout tells of the samples, with chance, number and interval beside it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ivn.evaluate.linear import FOLDS, predict_held_out
from ivn.evaluate.metrics import CONFIDENCE, interval

from .clips import MOTIONS
from .features import Samples

CHANCE = 1 / len(MOTIONS)


@dataclass(frozen=True)
class Share:
    """A share of the clips, or a difference of two, and its interval over scenes."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """Which of n clips each kind of features gets right.

    Attributes:
        right: name -> 1 or 0, float64 ``[n]``.
        scenes, kinds: as in :class:`Samples`.
        seed: of the intervals.
    """

    right: dict[str, np.ndarray]
    scenes: np.ndarray
    kinds: np.ndarray
    seed: int

    def accuracy(self, name: str) -> Share:
        """The share of clips told right."""
        return self._share(self.right[name])

    def difference(self, name: str, other: str) -> Share:
        """The accuracy of ``name`` less that of ``other``, on the same clips."""
        return self._share(self.right[name] - self.right[other])

    def accuracy_by_kind(self, name: str) -> dict[str, float]:
        """The share told right of the clips of each kind."""
        right = self.right[name]
        return {
            str(kind): float(right[self.kinds == kind].mean()) for kind in np.unique(self.kinds)
        }

    def _share(self, scores: np.ndarray) -> Share:
        low, high = interval(scores, self.scenes, seed=self.seed)
        return Share(float(scores.mean()), low, high)


def probe(samples: Samples, *, seed: int) -> Outcome:
    """Read every kind of features out in the same way; each clip is judged from other scenes."""
    labels, scenes = samples.labels, samples.scenes
    right = {
        name: (predict_held_out(features, labels, scenes) == labels).astype(np.float64)
        for name, features in samples.features.items()
    }
    return Outcome(right, scenes, samples.kinds, seed)


def summary(outcome: Outcome, *, compare: tuple[str, str]) -> dict[str, Any]:
    """All of it as plain values, for JSON; ``compare`` names two whose difference is given."""
    one, other = compare
    kinds = [str(kind) for kind in np.unique(outcome.kinds)[::-1]]
    clips = {kind: int((outcome.kinds == kind).sum()) for kind in kinds}
    n = len(outcome.scenes)
    return {
        "task": "camera_motion",
        "motions": list(MOTIONS),
        "chance": CHANCE,
        "n": n,
        "groups": len(np.unique(outcome.scenes)),
        "folds": FOLDS,
        "confidence": CONFIDENCE,
        "kinds": {
            kind: {
                "share": count / n,
                "clips": count,
                "pictures": count // len(MOTIONS),
                "scenes": len(np.unique(outcome.scenes[outcome.kinds == kind])),
            }
            for kind, count in clips.items()
        },
        "accuracy": {
            name: asdict(outcome.accuracy(name)) | outcome.accuracy_by_kind(name)
            for name in outcome.right
        },
        "difference": {"of": [one, other]} | asdict(outcome.difference(one, other)),
    }


def table(found: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """What :func:`summary` gives, in words and a table; ``labels`` says what each name is."""
    kinds = found["kinds"]
    shares = ", ".join(
        f"{kind['clips']} ({kind['share']:.0%}) of {kind['pictures']} {name} pictures "
        f"in {kind['scenes']} scenes"
        for name, kind in kinds.items()
    )
    lines = [
        "camera motion, by a linear probe on frozen features: "
        f"{len(found['motions'])} motions, chance {found['chance']:.1%}",
        f"{found['n']} clips in {found['groups']} groups: {shares}",
        f"all clips of a scene are in one group; each group is judged by a probe of the others "
        f"({found['folds']} folds); intervals are over groups",
        "",
    ]
    width = max(map(len, labels.values()))
    head = [f"{'accuracy':>8}", f"{found['confidence']:.0%} interval", *kinds]
    lines.append(" " * width + "   ".join(["", *head]))
    for name, label in labels.items():
        row = found["accuracy"][name]
        cells = [f"{row['value']:8.1%}", f"{row['low']:.1%} - {row['high']:.1%}".rjust(12)]
        cells += [f"{row[kind]:.1%}".rjust(len(kind)) for kind in kinds]
        lines.append(f"{label:<{width}}" + "   ".join(["", *cells]))
    one, other = found["difference"]["of"]
    gain = found["difference"]
    points = [f"{100 * gain[key]:+.1f}" for key in ("value", "low", "high")]
    lines.append(
        f"{labels[one]} less {labels[other]}: {points[0]} points "
        f"({found['confidence']:.0%} interval {points[1]} to {points[2]})"
    )
    return "\n".join(lines)
