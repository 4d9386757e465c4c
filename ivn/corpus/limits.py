"""Options that several commands on a corpus share; none of them changes a result.

A command's own dataclass inherits from one of these, and gives a field another default or help
text where it needs one.
"""

from dataclasses import dataclass
from typing import Annotated

from ivn.errors import UsageError
from ivn.options import Option, Unset
from ivn.processes import cores


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How much a command does at the same time.

    Attributes:
        workers: number of videos that are worked on at the same time; one per core by default.
    """

    workers: Annotated[int, Unset("N")] = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UsageError(f"--workers {self.workers}: expected 1 or more, or 0 for one per core")

    @property
    def processes(self) -> int:
        """Number of processes or threads to start."""
        return self.workers or cores()


@dataclass(frozen=True, kw_only=True)
class Limits(Workers):
    """How long a video may take, and how many may be unusable.

    Attributes:
        seconds: time limit per video, in seconds.
        max_bad: largest share of unusable rows with which the exit code is 0.
    """

    seconds: Annotated[float, Option("S")] = 120.0
    max_bad: Annotated[float, Option("SHARE")] = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seconds > 0:
            raise UsageError(f"--seconds {self.seconds:g}: expected more than 0")
        if not 0 <= self.max_bad <= 1:
            raise UsageError(f"--max-bad {self.max_bad:g}: expected a share from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class ClusterLimits(Limits):
    """Limits of work that a Ray cluster may do.

    Attributes:
        ray: address of a Ray cluster that does the work: auto, HOST:PORT, ray://HOST:PORT, or local
            for a cluster of --workers on this machine. Its nodes need pip install "ivn[ray]", and
            see the videos under the same paths.
    """

    ray: Annotated[str, Unset("ADDRESS")] = ""
