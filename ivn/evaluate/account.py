"""What of the lists was used, and what was not, in numbers and lines."""

from dataclasses import asdict, dataclass
from typing import Any

# What becomes of several labels of a video, where heads are judged.
TOLD_BY_ITSELF = "each label is told by itself, and scored by mean average precision"


@dataclass(frozen=True)
class Account:
    """What became of the rows of the lists.

    Attributes:
        label: which label was asked for.
        listed: videos of the training list.
        unlabelled: those of them without the label, which are left out.
        listed_test: videos of the test list; 0 without one.
        unlabelled_test: those of them without the label, which are left out.
        repeated: further rows about a clip that had one, with the same label.
        several: videos with more than one label.
        ungrouped: videos whose list names no group.
        used: videos that have the label, each once.
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

    def lines(self, several: str = TOLD_BY_ITSELF) -> list[str]:
        """What a user should know of it.

        Args:
            several: what becomes of several labels of a video.
        """
        out = []
        for side, count, of in (
            ("", self.unlabelled, self.listed),
            ("test ", self.unlabelled_test, self.listed_test),
        ):
            if count:
                out.append(
                    f"{count} of {of} {side}videos have no label {self.label!r} and are left out"
                )
        if self.repeated:
            out.append(
                f"{self.repeated} rows repeat a clip with the same label and are counted once"
            )
        if self.several:
            out.append(
                f"{self.several} of {self.used} videos have several labels, parted by ';': "
                f"{several}"
            )
        return [*out, *ungrouped_lines(self.ungrouped, self.used)]

    def facts(self, several: str = TOLD_BY_ITSELF) -> dict[str, Any]:
        """All of it as plain values, for JSON; ``several`` as for :meth:`lines`."""
        counts = asdict(self)
        del counts["label"], counts["used"]
        return {"multi_label": self.several > 0, **counts, "notes": self.lines(several)}


def ungrouped_lines(ungrouped: int, used: int) -> list[str]:
    """A line where some of the videos that are used have no group."""
    if not ungrouped:
        return []
    if ungrouped == used:
        return [
            "no video has a group: each file is its own, so that two of one film or person may be "
            "on both sides of a split"
        ]
    return [
        f"{ungrouped} of {used} videos have no group: each of these files is its own, whatever "
        "film or person it is of"
    ]
