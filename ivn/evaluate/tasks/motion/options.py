"""Options of ``ivn evaluate motion``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.evaluate.options import Evaluation
from ivn.options import Unset


@dataclass(frozen=True, kw_only=True)
class Motion(Evaluation):
    """Measure how well linear heads on frozen features tell ten camera motions apart.
    $ ivn evaluate motion --encoder RUN

    The camera moves over frames of the data or, without --data, over bundled clips and drawn
    scenes, as in the demo; no scene is in training and test alike. It needs pip install
    "ivn[demo]". Beside the encoders stand statistics of the raw pixels and, for a run, timm:
    and hf:, the same network with random weights. See
    docs/method.md#camera-motion.
    The last line printed is the result as JSON.

    Attributes:
        data: videos whose frames the camera moves over, as a folder, a list or a manifest.
    """

    data: Annotated[str, Unset("FOLDER|LIST")] = ""
