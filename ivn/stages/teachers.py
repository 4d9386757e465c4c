"""Frozen networks beside a student: which they are, which clips they see, and their answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ivn.data.batch import ClipSpec
from ivn.frozen import Targets, Teacher, TeacherConfig, frames_seen
from ivn.model.patch import normalised

# The consumer that trains, and the teacher whose attention semantic masks follow.
STUDENT, TEACHER = "student", "teacher"


@dataclass(frozen=True)
class NoTeacher:
    """No teacher."""

    kind: Literal["none"] = "none"


@dataclass(frozen=True)
class TeacherSpec:
    """A frozen network that a stage asks, before it is built.

    Attributes:
        config: the network.
        clip: name of its clips in a batch; "student" shows it the student's pixels, enlarged.
    """

    config: TeacherConfig
    clip: str

    def clip_spec(self, frames: int) -> ClipSpec:
        """Returns the network's share of a clip of which the student sees ``frames``."""
        return ClipSpec(frames_seen(self.config, frames), self.config.image_size)


@dataclass(frozen=True)
class StageTeacher:
    """A frozen network that a stage asks.

    Attributes:
        spec: its config and the name of its clips.
        network: the network; it moves with the stage.
    """

    spec: TeacherSpec
    network: Teacher

    def look(
        self, clips: Mapping[str, Tensor], *, layers: bool, pooled: bool, attention: bool
    ) -> Targets:
        """Returns the network's answers about a batch's clips, without gradients.

        Args:
            clips: consumer -> uint8 ``[B, T, H, W, 3]``.
            layers, pooled, attention: whether each is computed; it is empty otherwise.
        """
        student = self.spec.clip == STUDENT
        video = normalised(clips[STUDENT]) if student else clips[self.spec.clip]
        return self.network(video, layers=layers, pooled=pooled, attention=attention)
