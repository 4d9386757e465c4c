"""An account of the lists: how many rows were used, and how many not and why."""

from dataclasses import asdict, dataclass
from typing import Any

# The rule for several labels per video, where heads are judged.
EACH_LABEL = "each label is predicted by itself, and scored by mean average precision"


@dataclass(frozen=True)
class Account:
    """Numbers of videos and rows in the lists.

    Attributes:
        label: name of the label that is predicted.
        listed: videos of the training list.
        unlabelled: videos of the training list without the label; they are not used.
        listed_test: videos of the test list; 0 without one.
        unlabelled_test: videos of the test list without the label; they are not used.
        repeated: rows that repeat a clip with the same label.
        several: videos with more than one label.
        ungrouped: videos whose list names no group.
        used: videos that have the label, each counted once.
    """

    label: str
    listed: int
    unlabelled: int
    listed_test: int
    unlabelled_test: int
    repeated: int
    several: int
    ungrouped: int
    used: int

    def lines(self, several: str = EACH_LABEL) -> list[str]:
        """Returns lines that a user should read.

        Args:
            several: the rule for several labels per video.
        """
        out = []
        for side, count, listed in (
            ("", self.unlabelled, self.listed),
            ("test ", self.unlabelled_test, self.listed_test),
        ):
            if count:
                out.append(
                    f"{count} of {listed} {side}videos have no label {self.label!r} and are "
                    "not used"
                )
        if self.repeated:
            out.append(
                f"{self.repeated} rows repeat a clip with the same label and are counted once"
            )
        if self.several:
            out.append(
                f"{self.several} of {self.used} videos have several labels, separated by ';': "
                f"{several}"
            )
        return [*out, *ungrouped_lines(self.ungrouped, self.used)]

    def facts(self, several: str = EACH_LABEL) -> dict[str, Any]:
        """Returns all of it as plain values, for JSON; ``several`` is as for :meth:`lines`."""
        counts = asdict(self)
        del counts["label"], counts["used"]
        return {"multi_label": self.several > 0, **counts, "notes": self.lines(several)}


def ungrouped_lines(ungrouped: int, used: int) -> list[str]:
    """Returns a line if some of the ``used`` videos have no group."""
    if not ungrouped:
        return []
    if ungrouped == used:
        return [
            "no video has a group: each file is a group of its own, so that videos of one film or "
            "person may be on both sides of a split"
        ]
    return [
        f"{ungrouped} of {used} videos have no group: each of these files is a group of its own, "
        "whatever film or person it shows"
    ]
